"""How far the trials of a plan are, in words: counts, and the reasons behind failures and skips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from advtransfer.console.words import Standing, many
from advtransfer.plan import Plan
from advtransfer.plan.status import WORDS
from advtransfer.printable import printable
from advtransfer.runner import State
from advtransfer.runner.stale import Stale
from advtransfer.types import Json

States: TypeAlias = Mapping[str, State]


def tallied(states: States) -> Standing:
    """How many trials are done, failed, skipped and to do."""
    found = Counter(state.value for state in states.values())
    return Standing(found["done"], found["failed"], found["skipped"], found["todo"])


def lines(plan: Plan, states: States) -> Iterator[str]:
    """A line for each trial: its state, its name, and the reason when it failed or is skipped."""
    for trial in plan.trials:
        state = states[trial.id]
        yield f"{WORDS[state.value]:7}  {trial.name}{_because(state)}"


def reasons(plan: Plan, states: States, value: str) -> Iterator[str]:
    """The reasons of one state, the commonest first, with how many trials have each and the first of them."""
    names: dict[str, list[str]] = {}
    for trial in plan.trials:
        state = states[trial.id]
        if state.value == value:
            names.setdefault(one_line(state.text), []).append(trial.name)
    for reason, trials in sorted(names.items(), key=lambda item: -len(item[1])):
        yield f"{value} {len(trials)} x  {reason}  (first: {trials[0]})"


def listed(plan: Plan, states: States, value: str) -> list[dict[str, Json]]:
    """The trials of one state with their reasons, as plain data."""
    found = ((trial, states[trial.id]) for trial in plan.trials)
    return [
        {
            "id": one.id,
            "name": one.name,
            "reason": state.reason,
            "evaluation": state.evaluation,
            "evaluations": dict(state.failures),
        }
        for one, state in found
        if state.value == value
    ]


def failures(state: State) -> list[str]:
    """Why a trial failed: a line for each evaluation that did, or the one reason behind all."""
    if state.evaluation is None:
        return [one_line(state.reason)]
    return [f"{evaluation}: {one_line(reason)}" for evaluation, reason in state.failures.items()]


def stale_lines(stale: Stale, run: Path) -> list[str]:
    """What is told of records that were made with other code than is installed."""
    if not stale:
        return []
    changed = f"the code of {', '.join(stale.plugins)} has changed under the same version"
    return [
        f"stale in {run}: {many(len(stale.records), 'record')}, since {changed}; "
        "`advtransfer run` measures them again, and with --trust-versions takes them as they are"
    ]


def _because(state: State) -> str:
    return f"  ({one_line(state.text)})" if state.text else ""


def one_line(reason: str | None) -> str:
    """A reason on one line."""
    return " ".join(printable(reason or "no reason recorded").split())
