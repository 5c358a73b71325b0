"""Which trials of a plan one call of `run` is about."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from advtransfer.errors import BadInput, Problem
from advtransfer.plan import Trial

AXES = ("source", "adapter", "target", "n", "seed", "transfer")


def picked(trials: Iterable[Trial], patterns: Iterable[str]) -> list[Trial]:
    """The trials that match any of the patterns; all of them when there is none.

    A pattern is ``axis=glob,axis=glob`` (``source=linf*,n=20``), or a glob over a trial's name or id.

    Raises:
        BadInput: A pattern names no axis, or matches nothing.
    """
    trials, patterns = list(trials), list(patterns)
    if not patterns:
        return trials
    matching = {pattern: {trial.id for trial in trials if _matches(trial, pattern)} for pattern in patterns}
    problems = [_unmatched(pattern) for pattern, found in matching.items() if not found]
    if problems:
        raise BadInput(problems)
    ids = set().union(*matching.values())
    return [trial for trial in trials if trial.id in ids]


def _matches(trial: Trial, pattern: str) -> bool:
    if "=" not in pattern:
        return fnmatchcase(trial.name, pattern) or fnmatchcase(trial.id, pattern)
    pairs = [part.partition("=")[::2] for part in pattern.split(",")]
    return all(axis in AXES and fnmatchcase(str(getattr(trial, axis)), glob) for axis, glob in pairs)


def _unmatched(pattern: str) -> Problem:
    return Problem(
        f"--only {pattern!r}, which matches no trial",
        f"axis=glob pairs over {', '.join(AXES)} (source=linf*,n=20), or a glob over a trial's name or id",
        "see the names with `advtransfer plan SUITE --json`",
    )
