"""A plan as text and as JSON.

The axes of its grid, the status of its trials, and the reasons of failures and skips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from advtransfer.cli.output import align_columns
from advtransfer.console.formatting import ABSENT, StatusCounts, pluralize
from advtransfer.planning import Plan
from advtransfer.planning.status import STATUS_WORDS
from advtransfer.planning.trials import SubsetSize, Trial
from advtransfer.runner import TrialStatus
from advtransfer.runner.record_reuse import StaleRecords
from advtransfer.suite import GridEntry, Suite
from advtransfer.suite.grid_entries import training_start
from advtransfer.text import printable_text
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class SubsetDraws:
    """Training subsets of one target: each of `n` with each of `seeds`."""

    n: tuple[SubsetSize, ...]
    seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        return {"n": list(self.n), "seeds": list(self.seeds)}

    def __str__(self) -> str:
        return f"n {', '.join(map(str, self.n))} with {'seeds' if len(self.seeds) > 1 else 'seed'} {_seeds_text(self.seeds)}"


def grid_text(plan: Plan, suite: Suite | None = None) -> str:
    """The axes of a plan, one a line, under its counts; with its suite, also the references."""
    axes = {
        name: (name, ", ".join(labels) or ABSENT) for name, labels in _axis_labels(plan).items()
    }
    drawn = [
        ("target", f"{name}: {'; '.join(map(str, draws))}")
        for name, draws in target_draws(plan).items()
    ]
    compared = [
        ("reference", f"{name}: {', '.join(map(_reference_text, found))}")
        for name, found in _target_references(suite).items()
    ]
    rows = [
        axes["source"],
        axes["adapter"],
        *drawn,
        *compared,
        axes["transfer"],
        axes["evaluation"],
    ]
    return f"{plan_header(plan)}\n\n{align_columns(('axis', 'cells'), rows)}"


def grid_json(plan: Plan, suite: Suite | None = None) -> dict[str, Json]:
    """The same as plain data."""
    return {
        "suite": plan.suite,
        "title": plan.title,
        **{f"{name}s": labels for name, labels in _axis_labels(plan).items()},
        "targets": {
            name: [one.to_json() for one in draws] for name, draws in target_draws(plan).items()
        },
        "references": {
            name: [{"label": one.label, "start": training_start(one.node)} for one in found]
            for name, found in _target_references(suite).items()
        },
        "trials": len(plan.trials),
        "skipped": sum(trial.skipped is not None for trial in plan.trials),
        "results": plan.count_results(),
    }


def _target_references(suite: Suite | None) -> dict[str, tuple[GridEntry, ...]]:
    """The references of each target that has some."""
    return (
        {target.key: target.references for target in suite.targets if target.references}
        if suite
        else {}
    )


def _reference_text(cell: GridEntry) -> str:
    start = training_start(cell.node)
    return f"{cell.label} (start: {start})" if start else cell.label


def plan_header(plan: Plan) -> str:
    """The suite's name, its title, and how much it asks for."""
    size = f"{pluralize(len(plan.trials), 'trial')}, {pluralize(plan.count_results(), 'result')}"
    return f"{plan.suite}: {size}\n{plan.title}".rstrip()


def target_draws(plan: Plan) -> dict[str, list[SubsetDraws]]:
    """The draws of each target: the n that have the same seeds stand together."""
    seeds: dict[str, dict[SubsetSize, set[int]]] = {}
    for trial in plan.trials:
        seeds.setdefault(trial.target, {}).setdefault(trial.n, set()).add(trial.seed)
    return {target: list(_group_by_seeds(by_n)) for target, by_n in seeds.items()}


def _group_by_seeds(seeds: Mapping[SubsetSize, set[int]]) -> Iterator[SubsetDraws]:
    groups: dict[tuple[int, ...], list[SubsetSize]] = {}
    for n in sorted(seeds, key=lambda n: (n == "all", 0 if n == "all" else n)):
        groups.setdefault(tuple(sorted(seeds[n])), []).append(n)
    for key, ns in groups.items():
        yield SubsetDraws(tuple(ns), key)


def _axis_labels(plan: Plan) -> dict[str, list[str]]:
    return {
        "source": _distinct_labels(trial.source for trial in plan.trials),
        "adapter": _distinct_labels(trial.adapter for trial in plan.trials),
        "transfer": _distinct_labels(trial.transfer for trial in plan.trials),
        "evaluation": _distinct_labels(
            label for trial in plan.trials for label in trial.evaluations
        ),
    }


def _distinct_labels(labels: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(label for label in labels if label is not None))


def _seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as a range where they are one: ``0..4``."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}..{seeds[-1]}"
    return ", ".join(map(str, seeds))


def trial_json(trial: Trial) -> dict[str, Json]:
    """A trial's place in the grid, as `plan --json` tells it."""
    return {
        "id": trial.id,
        "name": trial.name,
        "source": trial.source,
        "adapter": trial.adapter,
        "target": trial.target,
        "n": trial.n,
        "seed": trial.seed,
        "transfer": trial.transfer,
        "evaluations": list(trial.evaluations),
    }


TrialStatuses: TypeAlias = Mapping[str, TrialStatus]


def count_statuses(states: TrialStatuses) -> StatusCounts:
    """How many trials are done, failed, skipped and to do."""
    found = Counter(state.value for state in states.values())
    return StatusCounts(found["done"], found["failed"], found["skipped"], found["todo"])


def trial_lines(plan: Plan, states: TrialStatuses) -> Iterator[str]:
    """A line for each trial: its state, its name, and the reason when it failed or is skipped."""
    for trial in plan.trials:
        state = states[trial.id]
        yield f"{STATUS_WORDS[state.value]:7}  {trial.name}{_reason_suffix(state)}"


def reason_lines(plan: Plan, states: TrialStatuses, value: str) -> Iterator[str]:
    """The reasons of one state, the commonest first, with how many trials have each and the first of them."""
    names: dict[str, list[str]] = {}
    for trial in plan.trials:
        state = states[trial.id]
        if state.value == value:
            names.setdefault(one_line(state.reason_text), []).append(trial.name)
    for reason, trials in sorted(names.items(), key=lambda item: -len(item[1])):
        yield f"{value} {len(trials)} x  {reason}  (first: {trials[0]})"


def trials_json(plan: Plan, states: TrialStatuses, value: str) -> list[dict[str, Json]]:
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


def failure_lines(state: TrialStatus) -> list[str]:
    """Why a trial failed: a line for each evaluation that did, or the one reason behind all."""
    if state.evaluation is None:
        return [one_line(state.reason)]
    return [f"{evaluation}: {one_line(reason)}" for evaluation, reason in state.failures.items()]


def stale_lines(stale: StaleRecords, run: Path) -> list[str]:
    """What is told of records that were made with other code than is installed."""
    if not stale:
        return []
    changed = f"the code of {', '.join(stale.plugins)} has changed under the same version"
    return [
        f"stale in {run}: {pluralize(len(stale.records), 'record')}, since {changed}; "
        "`advtransfer run` measures them again, and with --trust-versions takes them as they are"
    ]


def _reason_suffix(state: TrialStatus) -> str:
    return f"  ({one_line(state.reason_text)})" if state.reason_text else ""


def one_line(reason: str | None) -> str:
    """A reason on one line."""
    return " ".join(printable_text(reason or "no reason recorded").split())
