"""Whether a robust accuracy can be believed: a pure function of its checks, applied when read, so that rules improve.

suspicious and invalid results are shown and never ranked; unchecked means that nobody asked for the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from advtransfer.types import Check, Json

Believed: TypeAlias = Literal["verified", "suspicious", "invalid", "unchecked"]

RULES = 2
"""Version of the rules below; goes up when the same checks get another verdict."""

REQUIRED = ("legal_examples", "more_steps", "noise", "transferred", "huge_eps")
"""The battery: each of them must pass, since each alone misses attacks that the others catch."""

EXCUSED = frozenset({"transferred"})
"""What may not apply: a model without a source has nobody to take examples from."""

WORST_FIRST: tuple[Believed, ...] = ("invalid", "suspicious", "unchecked", "verified")


class Verdict(NamedTuple):
    """What the checks say together, why in words, and the version of the rules."""

    value: Believed
    reason: str
    rules: int = RULES

    @property
    def ranked(self) -> bool:
        """Whether a result with this verdict takes part in a ranking."""
        return self.value in ("verified", "unchecked")


def verdict(checks: Iterable[Check]) -> Verdict:
    """The verdict on one result, from all its checks."""
    checks = tuple(checks)
    if failed := [_told(check) for check in checks if check.grade == "fail"]:
        return Verdict("invalid", "; ".join(failed))
    if doubted := [_told(check) for check in checks if check.grade == "suspicious"]:
        return Verdict("suspicious", "; ".join(doubted))
    passed = {_base(check) for check in checks if check.grade == "pass"}
    passed |= EXCUSED & {_base(check) for check in checks if check.grade == "not applicable"}
    if missing := [name for name in REQUIRED if name not in passed]:
        return Verdict("unchecked", f"no evidence from {', '.join(missing)}" if checks else "no evidence was asked for")
    return Verdict("verified", f"{sum(check.grade == 'pass' for check in checks)} checks passed")


def verdict_of(record: Mapping[str, Json]) -> Verdict:
    """The verdict on a result record as it lies on disk; the one written in it is not looked at."""
    checks: Any = record.get("checks") or ()  # Any: JSON; Check(**...) names a field that is too many or missing
    return verdict(Check(**check) for check in checks)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on results that are shown as one number: the worst of theirs."""
    return min(verdicts, key=lambda one: WORST_FIRST.index(one.value))


def _base(check: Check) -> str:
    """A check's name without the ball or the epoch it belongs to, as in ``noise@0.1``."""
    return check.name.partition("@")[0]


def _told(check: Check) -> str:
    return f"{check.name} is {check.value:.3g} against a limit of {check.limit:.3g} ({check.text})"
