"""What has become of each trial of a plan, told from the files of its run alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from advtransfer.leaderboard.fate import Attempt, State, state_of
from advtransfer.plan import Plan, Trial
from advtransfer.result import Record, Run
from advtransfer.result.record import batteries_of
from advtransfer.types import Json

__all__ = ["State", "evaluations_skipped", "hopeless", "lacking_batteries", "missing", "state_in", "states"]


def states(plan: Plan, run: Run, *, stale: Collection[str] = ()) -> dict[str, State]:
    """The state of each trial, by its id; a folder that does not exist yet holds nothing.

    Records that are `stale` count as not there: the next run measures them again.
    """
    done = run.done().difference(stale)
    attempts = {id: _attempt(one) for id, one in run.attempts().items() if id not in stale}
    return {
        trial.id: state_of(trial, done=done.__contains__, attempts=attempts, sources=plan.sources)
        for trial in plan.trials
    }


def state_in(run: Run, trial: Trial, plan: Plan) -> State:
    """The state of one trial at this moment, from its own files alone."""
    latest = {id: run.attempt(id) for id in (*trial.builds, *trial.records())}
    attempts = {id: _attempt(one) for id, one in latest.items() if one is not None}
    return state_of(trial, done=run.has, attempts=attempts, sources=plan.sources)


def _attempt(record: Record) -> Attempt:
    return Attempt(str(record.get("status")), str(record["reason"]), bool(record.get("deterministic")))


def evaluations_skipped(standings: Iterable[State]) -> list[dict[str, Json]]:
    """The evaluations that make no sense in some trials: each with a reason and how many have it, the most first."""
    found = Counter(one for state in standings for one in state.skipped.items())
    return [
        {"evaluation": evaluation, "reason": reason, "trials": trials}
        for (evaluation, reason), trials in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def hopeless(run: Run) -> set[str]:
    """The ids without a record that would end without one again."""
    return {id for id, one in run.attempts().items() if one.get("deterministic")}


def lacking_batteries(plan: Plan, run: Run) -> set[str]:
    """The results of a plan whose record is there, but not that of a battery which stands behind it."""
    done = run.done()
    results = {id for trial in plan.trials for ids in trial.evaluations.values() for id in ids}
    return {id for id in results & done if not done.issuperset(batteries_of(run.read(id)))}


def missing(trial: Trial, done: set[str]) -> list[str]:
    """The records of a trial that are not there."""
    return [id for id in trial.records() if id not in done]
