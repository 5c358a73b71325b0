"""What has become of each trial of a plan, told from the files of its run alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from advtransfer.leaderboard.fate import Attempt, State, state_of
from advtransfer.plan import Plan, Trial
from advtransfer.result import Run
from advtransfer.types import Json

__all__ = ["State", "evaluations_skipped", "hopeless", "missing", "states"]


def states(plan: Plan, run: Run, *, stale: Collection[str] = ()) -> dict[str, State]:
    """The state of each trial, by its id; a folder that does not exist yet holds nothing.

    Records that are `stale` count as not there: the next run measures them again.
    """
    done = run.done().difference(stale)
    attempts = {
        id: Attempt(str(one["status"]), str(one["reason"]), bool(one["deterministic"]))
        for id, one in run.attempts().items()
        if id not in stale
    }
    return {
        trial.id: state_of(trial, done=done.__contains__, attempts=attempts, sources=plan.sources)
        for trial in plan.trials
    }


def evaluations_skipped(standings: Iterable[State]) -> list[dict[str, Json]]:
    """The evaluations that make no sense in some trials: each with a reason and how many have it, the most first."""
    found = Counter(one for state in standings for one in state.skipped.items())
    return [
        {"evaluation": evaluation, "reason": reason, "trials": trials}
        for (evaluation, reason), trials in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def hopeless(run: Run) -> set[str]:
    """The ids without a record that would end without one again."""
    return {id for id, one in run.attempts().items() if one["deterministic"]}


def missing(trial: Trial, done: set[str]) -> list[str]:
    """The records of a trial that are not there."""
    return [id for id in trial.records() if id not in done]
