"""Verdict on a robust accuracy: a function of its checks, applied on reading, so that the rules can improve.

Suspicious and invalid results are shown and never ranked. Unchecked results lack required checks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from advtransfer.types import Check, CheckStatus, Json

VerdictValue: TypeAlias = Literal["checked", "suspicious", "invalid", "unchecked"]

RULES_VERSION = 3
"""Version of the rules below; raised when the same checks get another verdict."""

REQUIRED_CHECKS = ("legal_examples", "missed", "noise", "transferred", "huge_eps")
"""Checks that must all pass, since each one misses faults that the others find.

Results whose battery is older than version 3 have no check `missed`, so they are unchecked.
"""

BATTERY_CHECKS = frozenset(
    {
        *("finished", "eps_zero", "missed", "noise", "single_step", "transferred"),
        "smoothed",
        *("box", "eval_mode", "stochastic", "batch", "logits", "finite", "gradients", "saturation"),
        *("derivatives", "continuity", "huge_eps"),
        # Of batteries before version 3:
        *("more_steps", "restarts"),
    }
)
"""Checks of a battery and with it: a newer battery of the same model and ball replaces them."""

HOST_CHECKS = BATTERY_CHECKS | {
    *("legal_examples", "own_examples", "untouched", "claims", "claimed_radius"),
}
"""Names of all checks of a result that are the host's; a plugin may use none of them."""

MAY_NOT_APPLY = frozenset({"transferred"})
"""Required checks that may be "not applicable": a model without a source has no source examples."""

WORST_FIRST: tuple[VerdictValue, ...] = ("invalid", "suspicious", "unchecked", "checked")

FORMER_VALUES = frozenset({"verified"})
"""Values in records by earlier rules: "checked" was "verified" before version 3."""


class Verdict(NamedTuple):
    """The verdict of all checks, its reason in words, and the version of the rules."""

    value: VerdictValue
    reason: str
    rules: int = RULES_VERSION

    @property
    def is_ranked(self) -> bool:
        """Whether a result with this verdict takes part in a ranking."""
        return self.value in ("checked", "unchecked")


def verdict_from_checks(checks: Iterable[Check]) -> Verdict:
    """Return the verdict on one result from all its checks."""
    by_grade: defaultdict[CheckStatus, list[Check]] = defaultdict(list)
    for check in checks:
        by_grade[check.grade].append(check)
    if failed := by_grade["fail"]:
        return Verdict("invalid", "; ".join(map(_check_text, failed)))
    if suspicious := by_grade["suspicious"]:
        return Verdict("suspicious", "; ".join(map(_check_text, suspicious)))
    passed = by_grade["pass"]
    excused = MAY_NOT_APPLY.intersection(map(_base_name, by_grade["not applicable"]))
    satisfied = excused.union(map(_base_name, passed))
    if missing := [name for name in REQUIRED_CHECKS if name not in satisfied]:
        # These texts are stored in records, and validation compares them: keep every byte.
        has_checks = any(by_grade.values())
        reason = f"no evidence from {', '.join(missing)}"
        return Verdict("unchecked", reason if has_checks else "no evidence was asked for")
    return Verdict("checked", f"{len(passed)} checks passed")


def verdict_from_record(record: Mapping[str, Json]) -> Verdict:
    """Return the verdict on a result record by the rules of today, not the one stored in the record."""
    # Any: JSON; `Check(**check)` raises for a missing or an unknown field.
    checks: Any = record.get("checks") or ()
    return verdict_from_checks(Check(**check) for check in checks)


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict, which holds for results that are shown as one number."""
    return min(verdicts, key=lambda verdict: WORST_FIRST.index(verdict.value))


def _base_name(check: Check) -> str:
    """Return a check's name without its ball or epoch: ``noise`` for ``noise@0.1``."""
    return check.name.partition("@")[0]


def _check_text(check: Check) -> str:
    return f"{check.name} is {check.value:.3g} against a limit of {check.limit:.3g} ({check.text})"
