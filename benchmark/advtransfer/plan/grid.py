"""The grid: every cell that a suite asks for, with the ids of its fit and results; a few microseconds each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.plan.extent import bounded, expect_some
from advtransfer.plan.nodes import (
    changing,
    fit_base,
    fit_node,
    references_for,
    result_base,
    result_nodes,
    subset_node,
)
from advtransfer.plan.shapes import Obstacles
from advtransfer.plan.trials import Plan, Trial
from advtransfer.suite import Cell, Leaderboard, Selection, Subset, Suite, Target
from advtransfer.types import Json

Place: TypeAlias = "dict[str, str | int | None]"


def make(suite: Suite, host: Host) -> Plan:
    """The plan of a suite; imports no torch.

    Raises:
        BadInput: Two cells ask for the same fit, or there is no trial, or there are too many.
    """
    obstacles = Obstacles(host)
    grids = (_TargetGrid(suite, target, obstacles) for target in suite.targets)
    trials = bounded(suite, (trial for grid in grids for trial in grid.trials()))
    expect_some(suite, trials)
    problems = list(_twins(suite, trials))
    if problems:
        raise BadInput(problems)
    trials.sort(key=_place)
    references = [cell for target in suite.targets for cell in target.references]
    names = {cell.node.id: cell.label for cell in (*references, *suite.sources)}
    return Plan(suite.name, suite.title, _settings(suite.leaderboard), names, tuple(trials))


@dataclass(frozen=True, slots=True)
class _Carried:
    """A source, an adapter and a transfer that meet at a target: what their fits and results share."""

    source: Cell | None
    adapter: Cell | None
    transfer: Cell
    place: Place
    source_node: Node | None
    adapter_node: Node | None
    fit: Node
    only: Sequence[Selection]
    exclude: Sequence[Selection]
    skipped: str | None


@dataclass(frozen=True, slots=True)
class _Measured:
    """An evaluation at one target: what its results have in common, and the ids of the references it is made with."""

    cell: Cell
    base: Node
    references: tuple[str, ...]


class _TargetGrid:
    """The cells of one target."""

    def __init__(self, suite: Suite, target: Target, obstacles: Obstacles) -> None:
        self.suite, self.target, self.obstacles = suite, target, obstacles
        self.subsets = [(subset, subset_node(target, index)) for index, subset in enumerate(target.subsets)]
        self.evaluations = [self._measured(cell) for cell in suite.evaluations]

    def trials(self) -> Iterator[Trial]:
        """Every trial of this target."""
        for carried in self._carried():
            for subset, node in self.subsets:
                trial = self._trial(carried, subset, node)
                if trial is not None:
                    yield trial

    def _carried(self) -> Iterator[_Carried]:
        for transfer in self.suite.transfers:
            sources = self.suite.sources if "source" in transfer.facts.needs else (None,)
            for source in sources:
                for adapter in self._adapters(source):
                    place = _named(source=source, adapter=adapter, transfer=transfer) | {"target": self.target.key}
                    only = [cell.only for cell in (source, transfer) if cell and cell.only]
                    if all(_compatible(one, place) for one in only):
                        yield self._meeting(source, adapter, transfer, place, only)

    def _adapters(self, source: Cell | None) -> Sequence[Cell | None]:
        """The adapters of this pair; none applying is the identity."""
        if source is None:
            return [None]
        place: Place = {"source": source.label, "target": self.target.key}
        applying = [cell for cell in self.suite.adapters if cell.only is None or _compatible(cell.only, place)]
        return applying or [None]

    def _meeting(
        self, source: Cell | None, adapter: Cell | None, transfer: Cell, place: Place, only: Sequence[Selection]
    ) -> _Carried:
        source_node, adapter_node = source.node if source else None, changing(adapter)
        return _Carried(
            source=source,
            adapter=adapter,
            transfer=transfer,
            place=place,
            source_node=source_node,
            adapter_node=adapter_node,
            fit=fit_base(transfer),
            only=only,
            exclude=[one for one in self.suite.exclude if _compatible(one, place)],
            skipped=self.obstacles.of(
                source=source_node,
                adapter=adapter_node,
                data=self.target.data.node,
                transfer=transfer.node,
                facts=transfer.facts,
            ),
        )

    def _trial(self, carried: _Carried, subset: Subset, images: Node) -> Trial | None:
        place = carried.place | {"n": subset.n, "seed": subset.seed}
        if carried.exclude and any(one.matches(place) for one in carried.exclude):
            return None
        if carried.only and not all(_compatible(one, place) for one in carried.only):
            return None
        fit = fit_node(carried.fit, source=carried.source_node, adapter=carried.adapter_node, subset=images)
        evaluations = self._evaluations(carried, place, fit)
        source, adapter = carried.source, carried.adapter
        return Trial(
            id=fit.id,
            source=source.label if source else None,
            row=source.row if source else None,
            replicate=source.replicate if source else None,
            adapter=adapter.label if adapter else None,
            target=self.target.key,
            n=subset.n,
            seed=subset.seed,
            transfer=carried.transfer.label,
            evaluations=evaluations,
            builds=self._builds(source, evaluations),
            skipped=carried.skipped,
        )

    def _evaluations(self, carried: _Carried, place: Place, fit: Node) -> dict[str, tuple[str, ...]]:
        """The ids of each evaluation's results in one cell; one that needs a source is absent where there is none."""
        found = {}
        for measured in self.evaluations:
            cell = measured.cell
            if "source" in cell.facts.needs and "source" not in fit.inputs:
                continue
            if carried.exclude or carried.only or cell.only:
                here = place | {"evaluation": cell.label}
                restrictions = [*carried.only, *([cell.only] if cell.only else [])]
                if not all(_compatible(one, here) for one in restrictions):
                    continue
                if any(one.matches(here) for one in carried.exclude):
                    continue
            found[cell.label] = tuple(node.id for node in result_nodes(measured.base, cell, self.target, fit))
        return found

    def _measured(self, cell: Cell) -> _Measured:
        references = tuple(one.node.id for one in references_for(cell, self.target) if one is not None)
        return _Measured(cell, result_base(cell, self.target), references)

    def _builds(self, source: Cell | None, evaluations: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        references = {
            one for measured in self.evaluations if measured.cell.label in evaluations for one in measured.references
        }
        return (*([source.node.id] if source else []), *sorted(references))


def _compatible(selection: Selection, place: Place) -> bool:
    """Whether a selection means this place, as far as the place is known."""
    return all(place[axis] in meant for axis, meant in selection.axes.items() if axis in place)


def _named(**cells: Cell | None) -> Place:
    return {axis: cell.label if cell else None for axis, cell in cells.items()}


def _settings(leaderboard: Leaderboard) -> dict[str, Json]:
    baseline = leaderboard.baseline
    return {
        "baseline": {"transfer": baseline["transfer"]} if isinstance(baseline, Mapping) else baseline,
        "rank_by": leaderboard.rank_by,
        "columns": list(leaderboard.columns),
        "figures": [dict(figure) for figure in leaderboard.figures],
        "questions": [dict(question) for question in leaderboard.questions],
    }


def _place(trial: Trial) -> tuple[object, ...]:
    """The order of a plan: by place, whatever the order of the suite's entries."""
    n = (1, 0) if trial.n == "all" else (0, trial.n)
    return (trial.target, n, trial.transfer, trial.row or "", trial.source or "", trial.adapter or "", trial.seed)


def _twins(suite: Suite, trials: Iterable[Trial]) -> Iterator[Problem]:
    """Two labels for one fit would make one number look like two."""
    seen: dict[str, Trial] = {}
    told: set[frozenset[str | None]] = set()
    for trial in trials:
        other = seen.setdefault(trial.id, trial)
        names = frozenset({f"{one.source or ''} {one.transfer} {one.target}" for one in (trial, other)})
        if other is not trial and names not in told:
            told.add(names)
            yield Problem(
                f"{suite.path}: {other.name!r} and {trial.name!r}, which ask for the same fit",
                "cells that differ in what they ask",
                "remove one of the entries, or change an option of it",
            )
