"""What has become of each trial of a plan, told from the files of its run alone."""

from __future__ import annotations

from advtransfer.leaderboard.fate import Attempt, State, state_of
from advtransfer.plan import Plan, Trial
from advtransfer.result import Run

__all__ = ["State", "missing", "states"]


def states(plan: Plan, run: Run) -> dict[str, State]:
    """The state of each trial, by its id; a folder that does not exist yet holds nothing."""
    done = run.done()
    attempts = {
        id: Attempt(str(one["status"]), str(one["reason"]), bool(one["deterministic"]))
        for id, one in run.attempts().items()
    }
    return {
        trial.id: state_of(trial, done=done.__contains__, attempts=attempts, sources=plan.sources)
        for trial in plan.trials
    }


def missing(trial: Trial, done: set[str]) -> list[str]:
    """The records of a trial that are not there."""
    return [id for id in trial.records() if id not in done]
