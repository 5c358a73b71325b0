"""The grid of a suite.

Every trial with the ids of its fit and results, and the reason where it is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning.limits import limit_trials, require_evaluations
from advtransfer.planning.nodes import (
    effective_adapter,
    fit_base,
    fit_node,
    references_for,
    result_base,
    result_nodes,
    subset_node,
)
from advtransfer.planning.trials import Plan, Trial
from advtransfer.precheck import CellOutline
from advtransfer.suite import GridEntry, Leaderboard, Selection, Subset, Suite, Target
from advtransfer.suite.outlines import Outlines
from advtransfer.types import ComponentMetadata, Json


class SkipReasons:
    """Reasons to skip cells, each found once for all cells that share it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._outlines = Outlines(host)

    def skip_reason(
        self,
        *,
        source: Node | None,
        adapter: Node | None,
        data: Node,
        transfer: Node,
        facts: ComponentMetadata,
    ) -> str | None:
        """The reason: another task, shapes that differ with no adapter between them, or options that do not fit."""
        tasks = self._host.component(data.use).metadata.tasks
        if not tasks & facts.tasks:
            works_on, task = (", ".join(sorted(some)) for some in (facts.tasks, tasks))
            return f"the transfer works on {works_on}; the target's task is {task}"
        around = CellOutline(
            target=self._outlines.outline_of(data), source=self._outlines.outline_of(source)
        )
        gives, takes = around.target.shape, around.source.shape
        if source is not None and adapter is None and None not in (gives, takes) and gives != takes:
            return f"the target gives inputs {gives}, the source takes {takes}; add an adapter for this pair"
        for node in (adapter, transfer):
            reason = self._misfit_reason(node, around) if node is not None else None
            if reason is not None:
                return reason
        return None

    def _misfit_reason(self, node: Node, around: CellOutline) -> str | None:
        """The first reason for which a component is skipped there."""
        found = (one for one in self._outlines.node_misfits(node, around) if one.skips)
        misfit = next(found, None)
        return None if misfit is None else f"{misfit.found}; {misfit.next_step}"


GridPosition: TypeAlias = "dict[str, str | int | None]"


def make_plan(suite: Suite, host: Host) -> Plan:
    """The plan of a suite; imports no torch.

    Raises:
        BadInput: Two cells ask for the same fit, or there is no trial, or there are too many.
    """
    obstacles = SkipReasons(host)
    grids = (_TargetGrid(suite, target, obstacles) for target in suite.targets)
    trials = limit_trials(suite, (trial for grid in grids for trial in grid.iter_trials()))
    require_evaluations(suite, trials)
    problems = list(_duplicate_fits(suite, trials))
    if problems:
        raise BadInput(problems)
    trials.sort(key=_sort_key)
    references = [cell for target in suite.targets for cell in target.references]
    names = {cell.node.id: cell.label for cell in (*references, *suite.sources)}
    return Plan(suite.name, suite.title, _leaderboard_json(suite.leaderboard), names, tuple(trials))


@dataclass(frozen=True, slots=True)
class _GridRow:
    """A source, an adapter and a transfer that meet at a target: what their fits and results share."""

    source: GridEntry | None
    adapter: GridEntry | None
    transfer: GridEntry
    position: GridPosition
    source_node: Node | None
    adapter_node: Node | None
    fit_base: Node
    only: Sequence[Selection]
    exclude: Sequence[Selection]
    skipped: str | None


@dataclass(frozen=True, slots=True)
class _TargetEvaluation:
    """An evaluation at one target: what its results have in common, and the ids of the references it is made with."""

    cell: GridEntry
    result_base: Node
    references: tuple[str, ...]


class _TargetGrid:
    """The cells of one target."""

    def __init__(self, suite: Suite, target: Target, obstacles: SkipReasons) -> None:
        self.suite, self.target, self.skip_reasons = suite, target, obstacles
        self.subsets = [
            (subset, subset_node(target, index)) for index, subset in enumerate(target.subsets)
        ]
        self.evaluations = [self._target_evaluation(cell) for cell in suite.evaluations]

    def iter_trials(self) -> Iterator[Trial]:
        """Every trial of this target."""
        for carried in self._grid_rows():
            for subset, node in self.subsets:
                trial = self._build_trial(carried, subset, node)
                if trial is not None:
                    yield trial

    def _grid_rows(self) -> Iterator[_GridRow]:
        for transfer in self.suite.transfers:
            sources = self.suite.sources if "source" in transfer.facts.needs else (None,)
            for source in sources:
                for adapter in self._applying_adapters(source):
                    place = _axis_values(source=source, adapter=adapter, transfer=transfer) | {
                        "target": self.target.key
                    }
                    only = [cell.only for cell in (source, transfer) if cell and cell.only]
                    if all(_may_match(one, place) for one in only):
                        yield self._grid_row(source, adapter, transfer, place, only)

    def _applying_adapters(self, source: GridEntry | None) -> Sequence[GridEntry | None]:
        """The adapters of this pair; none applying is the identity."""
        if source is None:
            return [None]
        place: GridPosition = {"source": source.label, "target": self.target.key}
        applying = [
            cell
            for cell in self.suite.adapters
            if cell.only is None or _may_match(cell.only, place)
        ]
        return applying or [None]

    def _grid_row(
        self,
        source: GridEntry | None,
        adapter: GridEntry | None,
        transfer: GridEntry,
        place: GridPosition,
        only: Sequence[Selection],
    ) -> _GridRow:
        source_node, adapter_node = source.node if source else None, effective_adapter(adapter)
        return _GridRow(
            source=source,
            adapter=adapter,
            transfer=transfer,
            position=place,
            source_node=source_node,
            adapter_node=adapter_node,
            fit_base=fit_base(transfer),
            only=only,
            exclude=[one for one in self.suite.exclude if _may_match(one, place)],
            skipped=self.skip_reasons.skip_reason(
                source=source_node,
                adapter=adapter_node,
                data=self.target.data.node,
                transfer=transfer.node,
                facts=transfer.facts,
            ),
        )

    def _build_trial(self, carried: _GridRow, subset: Subset, images: Node) -> Trial | None:
        place = carried.position | {"n": subset.n, "seed": subset.seed}
        if carried.exclude and any(one.matches(place) for one in carried.exclude):
            return None
        if carried.only and not all(_may_match(one, place) for one in carried.only):
            return None
        fit = fit_node(
            carried.fit_base,
            source=carried.source_node,
            adapter=carried.adapter_node,
            subset=images,
        )
        evaluations = self._result_ids(carried, place, fit)
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
            builds=self._source_ids(source, evaluations),
            skipped=carried.skipped,
        )

    def _result_ids(
        self, carried: _GridRow, place: GridPosition, fit: Node
    ) -> dict[str, tuple[str, ...]]:
        """The ids of each evaluation's results in one cell; one that needs a source is absent where there is none."""
        found = {}
        for measured in self.evaluations:
            cell = measured.cell
            if "source" in cell.facts.needs and "source" not in fit.inputs:
                continue
            if carried.exclude or carried.only or cell.only:
                here = place | {"evaluation": cell.label}
                restrictions = [*carried.only, *([cell.only] if cell.only else [])]
                if not all(_may_match(one, here) for one in restrictions):
                    continue
                if any(one.matches(here) for one in carried.exclude):
                    continue
            found[cell.label] = tuple(
                node.id for node in result_nodes(measured.result_base, cell, self.target, fit)
            )
        return found

    def _target_evaluation(self, cell: GridEntry) -> _TargetEvaluation:
        references = tuple(
            one.node.id for one in references_for(cell, self.target) if one is not None
        )
        return _TargetEvaluation(cell, result_base(cell, self.target), references)

    def _source_ids(
        self, source: GridEntry | None, evaluations: Mapping[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        references = {
            one
            for measured in self.evaluations
            if measured.cell.label in evaluations
            for one in measured.references
        }
        return (*([source.node.id] if source else []), *sorted(references))


def _may_match(selection: Selection, place: GridPosition) -> bool:
    """Whether a selection means this place, as far as the place is known."""
    return all(place[axis] in meant for axis, meant in selection.axes.items() if axis in place)


def _axis_values(**cells: GridEntry | None) -> GridPosition:
    return {axis: cell.label if cell else None for axis, cell in cells.items()}


def _leaderboard_json(leaderboard: Leaderboard) -> dict[str, Json]:
    baseline = leaderboard.baseline
    return {
        "baseline": {"transfer": baseline["transfer"]}
        if isinstance(baseline, Mapping)
        else baseline,
        "rank_by": leaderboard.rank_by,
        "columns": list(leaderboard.columns),
        "figures": [dict(figure) for figure in leaderboard.figures],
        "questions": [dict(question) for question in leaderboard.questions],
    }


def _sort_key(trial: Trial) -> tuple[object, ...]:
    """The order of a plan: by place, whatever the order of the suite's entries."""
    n = (1, 0) if trial.n == "all" else (0, trial.n)
    return (
        trial.target,
        n,
        trial.transfer,
        trial.row or "",
        trial.source or "",
        trial.adapter or "",
        trial.seed,
    )


def _duplicate_fits(suite: Suite, trials: Iterable[Trial]) -> Iterator[Problem]:
    """Two labels for one fit would make one number look like two."""
    seen: dict[str, Trial] = {}
    told: set[frozenset[str | None]] = set()
    for trial in trials:
        other = seen.setdefault(trial.id, trial)
        names = frozenset(
            {f"{one.source or ''} {one.transfer} {one.target}" for one in (trial, other)}
        )
        if other is not trial and names not in told:
            told.add(names)
            yield Problem(
                f"{suite.path}: {other.name!r} and {trial.name!r}, which ask for the same fit",
                "cells that differ in what they ask",
                "remove one of the entries, or change an option of it",
            )
