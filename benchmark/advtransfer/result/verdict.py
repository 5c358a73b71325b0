"""Verdict on a robust accuracy: a function of its checks, applied on reading, so that the rules can improve.

Suspicious and invalid results are shown and never ranked. Unchecked results lack required checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from advtransfer.types import Check, Json

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
        "rounded",
        *("box", "eval_mode", "stochastic", "batch", "logits", "finite", "gradients", "saturation"),
        *("derivatives", "continuity", "huge_eps"),
        # Of models that offer a surrogate:
        "surrogate",
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
    failed: list[Check] = []
    suspicious: list[Check] = []
    satisfied: set[str] = set()
    check_count = passed_count = 0
    for check in checks:
        check_count += 1
        if check.grade == "pass":
            passed_count += 1
            satisfied.add(base_name(check.name))
        elif check.grade == "fail":
            failed.append(check)
        elif check.grade == "suspicious":
            suspicious.append(check)
        elif base_name(check.name) in MAY_NOT_APPLY:
            satisfied.add(base_name(check.name))
    if failed:
        return Verdict("invalid", "; ".join(map(_check_text, failed)))
    if suspicious:
        return Verdict("suspicious", "; ".join(map(_check_text, suspicious)))
    if missing := [name for name in REQUIRED_CHECKS if name not in satisfied]:
        # These texts are stored in records, and validation compares them: keep every byte.
        reason = f"no evidence from {', '.join(missing)}"
        return Verdict("unchecked", reason if check_count else "no evidence was asked for")
    return _checked_verdict(passed_count)


@lru_cache(maxsize=64)
def _checked_verdict(passed_count: int) -> Verdict:
    """Return the verdict of most results as one object for all of them."""
    return Verdict("checked", f"{passed_count} checks passed")


def verdict_from_record(record: Mapping[str, Json]) -> Verdict:
    """Return the verdict on a result record by the rules of today, not the one stored in the record."""
    # Any: JSON; `Check(**check)` raises for a missing or an unknown field.
    checks: Any = record.get("checks") or ()
    return verdict_from_checks(Check(**check) for check in checks)


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict, which holds for results that are shown as one number."""
    return min(verdicts, key=lambda verdict: WORST_FIRST.index(verdict.value))


@lru_cache(maxsize=1024)
def base_name(check: str) -> str:
    """Return a check's name without its ball or epoch: ``noise`` for ``noise@0.1``."""
    return check.partition("@")[0]


def _check_text(check: Check) -> str:
    return f"{check.name} is {check.value:.3g} against a limit of {check.limit:.3g} ({check.text})"
