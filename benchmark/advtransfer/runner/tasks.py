"""The jobs of a run: what each builds, what it waits for, which trials it serves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from advtransfer.plan import Asked, Trial, asked
from advtransfer.plan.nodes import Cells
from advtransfer.plan.status import missing


@dataclass(slots=True)
class Task:
    """One job to be: its node and results, the builds it waits for, the trials that show what it makes."""

    asked: Asked
    name: str
    waits: set[str] = field(default_factory=set)
    trials: list[Trial] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.asked.node.id

    @property
    def kind(self) -> str:
        return self.asked.node.kind


def tasks_for(
    trials: Iterable[Trial], cells: Cells, done: set[str], names: Mapping[str, str], *, hopeless: Collection[str] = ()
) -> list[Task]:
    """The tasks behind trials: sources and references first, then the fits on most images, which take longest.

    A result that several trials share, since it needs no fit, is one task of its own. Results that are `hopeless` are
    not asked for again beside those that are only missing.
    """
    found: dict[str, Task] = {}
    for trial in sorted(trials, key=_size, reverse=True):
        lacking = missing(trial, done.union(hopeless))
        builds = [id for id in trial.builds if id not in done]
        for id in builds:
            found.setdefault(id, Task(Asked(cells.builds[id]), names[id]))
        for one in asked(cells, trial, lacking):
            task = found.setdefault(one.node.id, Task(one, trial.name, set(builds)))
            task.trials.append(trial)
    return sorted(found.values(), key=lambda task: task.kind != "source")


def _size(trial: Trial) -> float:
    return float("inf") if trial.n == "all" else trial.n
