"""Selection of the trials that one call of `run` works on."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from advtransfer.errors import BadInput, Problem
from advtransfer.planning import Plan, Trial
from advtransfer.planning.status import (
    TrialStatus,
)
from advtransfer.runner.settings import RunSettings

TRIAL_AXES = ("source", "adapter", "target", "n", "seed", "transfer")


def matching_trials(trials: Iterable[Trial], patterns: Iterable[str]) -> list[Trial]:
    """The trials that match any of the patterns; all of them when there is none.

    A pattern is ``axis=glob,axis=glob`` (``source=linf*,n=20``), or a glob over a trial's name or id.

    Raises:
        BadInput: A pattern names no axis, or matches nothing.
    """
    trials, patterns = list(trials), list(patterns)
    if not patterns:
        return trials
    matching = {
        pattern: {trial.id for trial in trials if _matches_pattern(trial, pattern)}
        for pattern in patterns
    }
    problems = [_unmatched_problem(pattern) for pattern, found in matching.items() if not found]
    if problems:
        raise BadInput(problems)
    ids = set().union(*matching.values())
    return [trial for trial in trials if trial.id in ids]


def _matches_pattern(trial: Trial, pattern: str) -> bool:
    if "=" not in pattern:
        return fnmatchcase(trial.name, pattern) or fnmatchcase(trial.id, pattern)
    pairs = [part.partition("=")[::2] for part in pattern.split(",")]
    return all(
        axis in TRIAL_AXES and fnmatchcase(str(getattr(trial, axis)), glob) for axis, glob in pairs
    )


def _unmatched_problem(pattern: str) -> Problem:
    return Problem(
        f"--only {pattern!r}, which matches no trial",
        f"axis=glob pairs over {', '.join(TRIAL_AXES)} (source=linf*,n=20), or a glob over a trial's name or id",
        "see the names with `advtransfer plan SUITE --json`",
    )


def trials_to_run(
    plan: Plan,
    before: dict[str, TrialStatus],
    settings: RunSettings,
    torn: set[str],
    *,
    built: set[str],
) -> list[Trial]:
    """The trials of this call: not done, not hopeless, picked, at most `limit`.

    Also those that are done but for a record behind them which was deleted: of a source, or of a battery (`torn`).
    """
    chosen = [
        trial
        for trial in matching_trials(plan.trials, settings.only)
        if needs_attempt(trial, before[trial.id], settings)
        or not torn.isdisjoint(trial.record_ids())
        or (before[trial.id].value == "done" and not built.issuperset(trial.builds))
    ]
    return chosen[: settings.limit]


def needs_attempt(trial: Trial, state: TrialStatus, settings: RunSettings) -> bool:
    """Whether something of a trial is to be tried: anew, or, where it ended without a record, again if asked."""
    lacks = trial.skipped is None and (state.value != "done" or bool(state.skipped))
    return not state.final or (settings.retry_failed and lacks)
