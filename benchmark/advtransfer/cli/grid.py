"""A suite's grid in words: what lies on each axis, and how many trials and results that makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from advtransfer.cli.columns import columns
from advtransfer.console.words import ABSENT, many
from advtransfer.plan import Plan
from advtransfer.plan.trials import N, Trial
from advtransfer.suite import Cell, Suite
from advtransfer.suite.references import start_of
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class Draws:
    """Training subsets of one target: each of `n` with each of `seeds`."""

    n: tuple[N, ...]
    seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        return {"n": list(self.n), "seeds": list(self.seeds)}

    def __str__(self) -> str:
        return f"n {', '.join(map(str, self.n))} with {'seeds' if len(self.seeds) > 1 else 'seed'} {_span(self.seeds)}"


def as_text(plan: Plan, suite: Suite | None = None) -> str:
    """The axes of a plan, one a line, under its counts; with its suite, also the references."""
    axes = {name: (name, ", ".join(labels) or ABSENT) for name, labels in _axes(plan).items()}
    drawn = [("target", f"{name}: {'; '.join(map(str, draws))}") for name, draws in targets(plan).items()]
    compared = [
        ("reference", f"{name}: {', '.join(map(_reference, found))}") for name, found in _references(suite).items()
    ]
    rows = [axes["source"], axes["adapter"], *drawn, *compared, axes["transfer"], axes["evaluation"]]
    return f"{head(plan)}\n\n{columns(('axis', 'cells'), rows)}"


def as_json(plan: Plan, suite: Suite | None = None) -> dict[str, Json]:
    """The same as plain data."""
    return {
        "suite": plan.suite,
        "title": plan.title,
        **{f"{name}s": labels for name, labels in _axes(plan).items()},
        "targets": {name: [one.to_json() for one in draws] for name, draws in targets(plan).items()},
        "references": {
            name: [{"label": one.label, "start": start_of(one.node)} for one in found]
            for name, found in _references(suite).items()
        },
        "trials": len(plan.trials),
        "skipped": sum(trial.skipped is not None for trial in plan.trials),
        "results": plan.results(),
    }


def _references(suite: Suite | None) -> dict[str, tuple[Cell, ...]]:
    """The references of each target that has some."""
    return {target.key: target.references for target in suite.targets if target.references} if suite else {}


def _reference(cell: Cell) -> str:
    start = start_of(cell.node)
    return f"{cell.label} (start: {start})" if start else cell.label


def head(plan: Plan) -> str:
    """The suite's name, its title, and how much it asks for."""
    size = f"{many(len(plan.trials), 'trial')}, {many(plan.results(), 'result')}"
    return f"{plan.suite}: {size}\n{plan.title}".rstrip()


def targets(plan: Plan) -> dict[str, list[Draws]]:
    """The draws of each target: the n that have the same seeds stand together."""
    seeds: dict[str, dict[N, set[int]]] = {}
    for trial in plan.trials:
        seeds.setdefault(trial.target, {}).setdefault(trial.n, set()).add(trial.seed)
    return {target: list(_together(by_n)) for target, by_n in seeds.items()}


def _together(seeds: Mapping[N, set[int]]) -> Iterator[Draws]:
    groups: dict[tuple[int, ...], list[N]] = {}
    for n in sorted(seeds, key=lambda n: (n == "all", 0 if n == "all" else n)):
        groups.setdefault(tuple(sorted(seeds[n])), []).append(n)
    for key, ns in groups.items():
        yield Draws(tuple(ns), key)


def _axes(plan: Plan) -> dict[str, list[str]]:
    return {
        "source": _labels(trial.source for trial in plan.trials),
        "adapter": _labels(trial.adapter for trial in plan.trials),
        "transfer": _labels(trial.transfer for trial in plan.trials),
        "evaluation": _labels(label for trial in plan.trials for label in trial.evaluations),
    }


def _labels(labels: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(label for label in labels if label is not None))


def _span(seeds: Sequence[int]) -> str:
    """Seeds as a range where they are one: ``0..4``."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}..{seeds[-1]}"
    return ", ".join(map(str, seeds))


def place(trial: Trial) -> dict[str, Json]:
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
