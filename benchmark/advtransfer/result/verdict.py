"""Verdict on a robust accuracy.

A pure function of its checks, applied on reading, so that the rules can improve.

Suspicious and invalid results are shown and never ranked. Unchecked means that no checks were requested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from advtransfer.types import Check, Json

VerdictValue: TypeAlias = Literal["verified", "suspicious", "invalid", "unchecked"]

RULES_VERSION = 2
"""Version of the rules below; goes up when the same checks get another verdict."""

REQUIRED_CHECKS = ("legal_examples", "more_steps", "noise", "transferred", "huge_eps")
"""The battery: each of them must pass, since each alone misses attacks that the others catch."""

MAY_NOT_APPLY = frozenset({"transferred"})
"""What may not apply: a model without a source has nobody to take examples from."""

WORST_FIRST: tuple[VerdictValue, ...] = ("invalid", "suspicious", "unchecked", "verified")


class Verdict(NamedTuple):
    """What the checks say together, why in words, and the version of the rules."""

    value: VerdictValue
    reason: str
    rules: int = RULES_VERSION

    @property
    def is_ranked(self) -> bool:
        """Whether a result with this verdict takes part in a ranking."""
        return self.value in ("verified", "unchecked")


def verdict_from_checks(checks: Iterable[Check]) -> Verdict:
    """The verdict on one result, from all its checks."""
    checks = tuple(checks)
    if failed := [_check_text(check) for check in checks if check.grade == "fail"]:
        return Verdict("invalid", "; ".join(failed))
    if doubted := [_check_text(check) for check in checks if check.grade == "suspicious"]:
        return Verdict("suspicious", "; ".join(doubted))
    passed = {_base_name(check) for check in checks if check.grade == "pass"}
    passed |= MAY_NOT_APPLY & {
        _base_name(check) for check in checks if check.grade == "not applicable"
    }
    if missing := [name for name in REQUIRED_CHECKS if name not in passed]:
        return Verdict(
            "unchecked",
            f"no evidence from {', '.join(missing)}" if checks else "no evidence was asked for",
        )
    return Verdict("verified", f"{sum(check.grade == 'pass' for check in checks)} checks passed")


def verdict_from_record(record: Mapping[str, Json]) -> Verdict:
    """The verdict on a result record as it lies on disk; the one written in it is not looked at."""
    checks: Any = (
        record.get("checks") or ()
    )  # Any: JSON; Check(**...) names a field that is too many or missing
    return verdict_from_checks(Check(**check) for check in checks)


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on results that are shown as one number: the worst of theirs."""
    return min(verdicts, key=lambda one: WORST_FIRST.index(one.value))


def _base_name(check: Check) -> str:
    """A check's name without the ball or the epoch it belongs to, as in ``noise@0.1``."""
    return check.name.partition("@")[0]


def _check_text(check: Check) -> str:
    return f"{check.name} is {check.value:.3g} against a limit of {check.limit:.3g} ({check.text})"
