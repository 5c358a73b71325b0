"""Selection of the trials that one call of `run` works on."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from advtransfer.errors import BadInput, Problem
from advtransfer.planning import Plan, Trial
from advtransfer.planning.status import TrialStatus
from advtransfer.runner.settings import RunSettings
from advtransfer.suite import AXES

TRIAL_AXES = tuple(axis for axis in AXES if axis != "evaluation")
"""Axes that a pattern of ``--only`` may name: a trial comprises all its evaluations."""


def matching_trials(trials: Iterable[Trial], patterns: Iterable[str]) -> list[Trial]:
    """Return the trials that match any of the patterns; all of them if there is no pattern.

    A pattern is ``axis=glob,axis=glob`` (``source=linf*,n=20``), or a glob over a trial's name or id.

    Raises:
        BadInput: A pattern names no axis, or matches nothing.
    """
    trials = list(trials)
    patterns = list(patterns)
    if not patterns:
        return trials
    ids_by_pattern = {
        pattern: {trial.id for trial in trials if _matches_pattern(trial, pattern)}
        for pattern in patterns
    }
    problems = [_unmatched_problem(pattern) for pattern, ids in ids_by_pattern.items() if not ids]
    if problems:
        raise BadInput(problems)
    matching_ids = set().union(*ids_by_pattern.values())
    return [trial for trial in trials if trial.id in matching_ids]


def _matches_pattern(trial: Trial, pattern: str) -> bool:
    if "=" not in pattern:
        return fnmatchcase(trial.name, pattern) or fnmatchcase(trial.id, pattern)
    for part in pattern.split(","):
        axis, _, glob = part.partition("=")
        if axis not in TRIAL_AXES or not fnmatchcase(str(getattr(trial, axis)), glob):
            return False
    return True


def _unmatched_problem(pattern: str) -> Problem:
    expected = (
        f"axis=glob pairs over {', '.join(TRIAL_AXES)} (source=linf*,n=20), "
        "or a glob over a trial's name or id"
    )
    return Problem(
        f"--only {pattern!r}, which matches no trial",
        expected,
        "see the names with `advtransfer plan SUITE --json`",
    )


def trials_to_run(
    plan: Plan,
    before: dict[str, TrialStatus],
    settings: RunSettings,
    incomplete_results: set[str],
    *,
    built: set[str],
) -> list[Trial]:
    """Return the trials of this call: selected by ``--only`` and unfinished, at most ``--limit``.

    Trials that are done are included if a record behind them is missing, of a battery or a source.

    Args:
        plan: The plan.
        before: Status of each trial, by id.
        settings: Settings of the run.
        incomplete_results: Ids of results that lack a battery of this version and size.
        built: Ids with a record, or whose failure is permanent.
    """
    chosen = []
    for trial in matching_trials(plan.trials, settings.only):
        status = before[trial.id]
        lacks_battery = not incomplete_results.isdisjoint(trial.record_ids())
        lacks_source = status.value == "done" and not built.issuperset(trial.builds)
        if needs_attempt(trial, status, settings) or lacks_battery or lacks_source:
            chosen.append(trial)
    if settings.shard is not None:
        chosen = settings.shard.order_trials(chosen, plan)
    return chosen[: settings.limit]


def needs_attempt(trial: Trial, status: TrialStatus, settings: RunSettings) -> bool:
    """Return whether any job of a trial is to be attempted, for the first time or again.

    A job that ended without a record is attempted again with ``--retry-failed`` or if its failure
    was not deterministic.
    """
    if not status.final:
        return True
    incomplete = status.value != "done" or bool(status.skipped)
    return settings.retry_failed and trial.skipped is None and incomplete
