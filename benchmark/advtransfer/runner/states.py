"""What has become of each trial of a plan, told from the files of its run alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.plan import Plan, Trial
from advtransfer.result import Record, Run

Value: TypeAlias = Literal["done", "failed", "skipped", "todo"]


@dataclass(frozen=True, slots=True)
class State:
    """A trial's state; `final` says that the same command would not try it again."""

    value: Value
    reason: str | None = None
    final: bool = False


def states(plan: Plan, run: Run) -> dict[str, State]:
    """The state of each trial, by its id; a folder that does not exist yet holds nothing."""
    done, attempts = run.done(), run.attempts()
    return {trial.id: _state(trial, done, attempts, plan) for trial in plan.trials}


def missing(trial: Trial, done: set[str]) -> list[str]:
    """The records of a trial that are not there."""
    return [id for id in trial.records() if id not in done]


def _state(trial: Trial, done: set[str], attempts: dict[str, Record], plan: Plan) -> State:
    if trial.skipped:
        return State("skipped", trial.skipped, final=True)
    lacking = missing(trial, done)
    if not lacking:
        return State("done", final=True)
    tried = [(id, attempts[id]) for id in (*trial.builds, *lacking) if id in attempts and id not in done]
    if not tried:
        return State("todo")
    id, attempt = tried[0]
    what = f"source {plan.sources[id]}: " if id in trial.builds else ""
    value: Value = "skipped" if attempt["status"] == "skipped" else "failed"
    return State(value, f"{what}{attempt['reason']}", final=bool(attempt["deterministic"]))
