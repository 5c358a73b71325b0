"""The grid of a suite.

Every trial with the ids of its fit and results, and the reason where it is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
from advtransfer.node import Node, text_sha256
from advtransfer.planning.dataset_facts import dataset_facts, further_tests
from advtransfer.planning.leaderboard_json import leaderboard_json
from advtransfer.planning.limits import limit_trials, require_evaluations
from advtransfer.planning.nodes import (
    effective_adapter,
    fit_base,
    fit_node,
    references_for,
    result_base,
    result_id_text,
    result_nodes,
    subset_node,
)
from advtransfer.planning.pairing import TrainingPairs
from advtransfer.planning.trials import Plan, Trial
from advtransfer.precheck import CellOutline
from advtransfer.suite import GridEntry, Selection, Subset, Suite, Target
from advtransfer.suite.choice import choice_misfits
from advtransfer.suite.further_tests import is_measured_at
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.sections import CHOOSE
from advtransfer.types import ComponentMetadata, Task


class SkipReasons:
    """Reasons to skip cells of the grid."""

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
        """Return the reason to skip a cell, or None.

        The reasons are another task, shapes that differ without an adapter between them, and
        options that do not fit. Their texts are stored in ``plan.json``.
        """
        # A reason holds for a whole row of the grid, so it is found without n and seed.
        outline = CellOutline(
            target=self._outlines.outline_of(data), source=self._outlines.outline_of(source)
        )
        tasks: frozenset[Task] = self._host.component(data.use).metadata.tasks
        # A view may change the task: one attribute is two classes.
        if outline.target.task is not None:
            tasks = frozenset((outline.target.task,))
        if not tasks & facts.tasks:
            works_on, task = (", ".join(sorted(some)) for some in (facts.tasks, tasks))
            return f"the transfer works on {works_on}; the target's task is {task}"
        target_shape, source_shape = outline.target.shape, outline.source.shape
        has_no_adapter = source is not None and adapter is None
        are_known = None not in (target_shape, source_shape)
        if has_no_adapter and are_known and target_shape != source_shape:
            return (
                f"the target gives inputs {target_shape}, the source takes {source_shape}; "
                "add an adapter for this pair"
            )
        for node in (adapter, transfer):
            reason = self._misfit_reason(node, outline) if node is not None else None
            if reason is not None:
                return reason
        return None

    def _misfit_reason(self, node: Node, outline: CellOutline) -> str | None:
        """Return the first reason for which a component is skipped in a cell, or None."""
        for misfit in choice_misfits(node, outline, self._outlines):
            if misfit.skips:
                return f"{misfit.found}; {misfit.next_step}"
        return None


GridPosition: TypeAlias = "dict[str, str | int | None]"
"""Labels (of n and seed the values) on the axes known so far; None where an axis has no entry."""


def make_plan(suite: Suite, host: Host) -> Plan:
    """Return the plan of a suite. Imports no torch.

    Raises:
        BadInput: Two cells have the same fit, trainings and seeds cannot be paired, there is no
            trial, or there are too many.
    """
    reasons = SkipReasons(host)
    pairs = TrainingPairs(suite)
    grids = (_TargetGrid(suite, target, reasons, pairs) for target in suite.targets)
    trials = limit_trials(suite, (trial for grid in grids for trial in grid.iter_trials()))
    require_evaluations(suite, trials)
    problems = [*pairs.problems(trials), *_duplicate_fits(suite, trials)]
    if problems:
        raise BadInput(problems)
    # The order of a suite's entries must change neither plan.json nor the page.
    trials.sort(key=_sort_key)
    references = [cell for target in suite.targets for cell in target.references]
    # A source that is also a reference is shown under its label as a source.
    names = {cell.node.id: cell.label for cell in (*references, *suite.sources)}
    return Plan(
        suite.name,
        suite.title,
        leaderboard_json(suite),
        names,
        tuple(trials),
        deterministic=tuple(sorted(cell.label for cell in suite.transfers if _draws_nothing(cell))),
        datasets=dataset_facts(suite, Outlines(host)),
        also=further_tests(suite, trials),
    )


def _draws_nothing(transfer: GridEntry) -> bool:
    """Return whether fits to the same images are equal; a choice draws what it holds out."""
    options = transfer.node.options
    return CHOOSE not in options and transfer.facts.is_deterministic(options)


@dataclass(frozen=True, slots=True)
class _GridRow:
    """A (source, adapter, transfer) combination at a target, with what its subsets share."""

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
    """An evaluation at one target: the base of its results and the ids of their references.

    `id_text` is the text around a fit's id whose hash is its result's id, where that is all.
    """

    cell: GridEntry
    result_base: Node
    references: tuple[str, ...]
    id_text: tuple[str, str] | None


class _TargetGrid:
    """The cells of one target."""

    def __init__(
        self, suite: Suite, target: Target, skip_reasons: SkipReasons, pairs: TrainingPairs
    ) -> None:
        self.suite = suite
        self.target = target
        self.skip_reasons = skip_reasons
        self.pairs = pairs
        self.subsets = [
            (subset, subset_node(target, index)) for index, subset in enumerate(target.subsets)
        ]
        self.evaluations = [
            self._target_evaluation(cell)
            for cell in suite.evaluations
            if is_measured_at(cell, target)
        ]

    def iter_trials(self) -> Iterator[Trial]:
        """Yield every trial of this target."""
        for row in self._grid_rows():
            for subset, node in self.subsets:
                trial = self._build_trial(row, subset, node)
                if trial is not None:
                    yield trial

    def _grid_rows(self) -> Iterator[_GridRow]:
        for transfer in self.suite.transfers:
            sources = self.suite.sources if "source" in transfer.facts.needs else (None,)
            for source in sources:
                for adapter in self._applying_adapters(source):
                    row = self._grid_row(source, adapter, transfer)
                    if row is not None:
                        yield row

    def _applying_adapters(self, source: GridEntry | None) -> Sequence[GridEntry | None]:
        """Return the adapters for a source at this target, or [None], which is the identity."""
        if source is None:
            return [None]
        position: GridPosition = {"source": source.label, "target": self.target.key}
        applying = [
            cell
            for cell in self.suite.adapters
            if cell.only is None or _may_match(cell.only, position)
        ]
        return applying or [None]

    def _grid_row(
        self, source: GridEntry | None, adapter: GridEntry | None, transfer: GridEntry
    ) -> _GridRow | None:
        """Return a row of the grid, or None where the `only` of an entry leaves it out."""
        position = _axis_values(source=source, adapter=adapter, transfer=transfer)
        position["target"] = self.target.key
        # `only` and `exclude` may also name n, seed and evaluation, which are not known here. What
        # may still match is kept in the row and decided for each trial.
        only = [cell.only for cell in (source, transfer) if cell and cell.only]
        if not all(_may_match(selection, position) for selection in only):
            return None
        source_node = source.node if source else None
        adapter_node = effective_adapter(adapter)
        return _GridRow(
            source=source,
            adapter=adapter,
            transfer=transfer,
            position=position,
            source_node=source_node,
            adapter_node=adapter_node,
            fit_base=fit_base(transfer),
            only=only,
            exclude=[
                selection for selection in self.suite.exclude if _may_match(selection, position)
            ],
            skipped=self.skip_reasons.skip_reason(
                source=source_node,
                adapter=adapter_node,
                data=self.target.data.node,
                transfer=transfer.node,
                facts=transfer.facts,
            ),
        )

    def _build_trial(self, row: _GridRow, subset: Subset, images: Node) -> Trial | None:
        """Return the trial of a row on one subset, or None where it is excluded or not paired."""
        if not self.pairs.are_paired(row.source, subset):
            return None
        position = row.position | {"n": subset.n, "seed": subset.seed}
        if any(selection.matches(position) for selection in row.exclude):
            return None
        if not all(_may_match(selection, position) for selection in row.only):
            return None
        fit = fit_node(
            row.fit_base, source=row.source_node, adapter=row.adapter_node, subset=images
        )
        evaluations = self._result_ids(row, position, fit)
        source = row.source
        adapter = row.adapter
        return Trial(
            id=fit.id,
            source=source.label if source else None,
            row=source.row if source else None,
            replicate=source.replicate if source else None,
            adapter=adapter.label if adapter else None,
            target=self.target.key,
            n=subset.n,
            seed=subset.seed,
            transfer=row.transfer.label,
            evaluations=evaluations,
            builds=self._source_ids(source, evaluations),
            skipped=row.skipped,
        )

    def _result_ids(
        self, row: _GridRow, position: GridPosition, fit: Node
    ) -> dict[str, tuple[str, ...]]:
        """Return the ids of each evaluation's results in one cell.

        An evaluation that needs a source is left out where the fit has none.
        """
        ids: dict[str, tuple[str, ...]] = {}
        for evaluation in self.evaluations:
            cell = evaluation.cell
            if "source" in cell.facts.needs and "source" not in fit.inputs:
                continue
            if not _is_evaluated(row, position, cell):
                continue
            if evaluation.id_text is not None:
                before, after = evaluation.id_text
                ids[cell.label] = (text_sha256(f"{before}{fit.id}{after}"),)
                continue
            nodes = result_nodes(evaluation.result_base, cell, self.target, fit)
            ids[cell.label] = tuple(node.id for node in nodes)
        return ids

    def _target_evaluation(self, cell: GridEntry) -> _TargetEvaluation:
        references = references_for(cell, self.target)
        ids = tuple(reference.node.id for reference in references if reference is not None)
        base = result_base(cell, self.target)
        return _TargetEvaluation(cell, base, ids, result_id_text(base, cell))

    def _source_ids(
        self, source: GridEntry | None, evaluations: Mapping[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Return the ids of the source and of the references that a trial needs."""
        references: set[str] = set()
        for evaluation in self.evaluations:
            if evaluation.cell.label in evaluations:
                references.update(evaluation.references)
        return (*([source.node.id] if source else []), *sorted(references))


def _is_evaluated(row: _GridRow, position: GridPosition, cell: GridEntry) -> bool:
    """Return True where the selections of a row and of an evaluation let it be measured."""
    only = [*row.only, *([cell.only] if cell.only else [])]
    # Most suites have no selections, and this runs once for each result.
    if not only and not row.exclude:
        return True
    full_position = position | {"evaluation": cell.label}
    if not all(_may_match(selection, full_position) for selection in only):
        return False
    return not any(selection.matches(full_position) for selection in row.exclude)


def _may_match(selection: Selection, position: GridPosition) -> bool:
    """Return True where a selection matches on every axis that the position has."""
    return all(
        position[axis] in labels for axis, labels in selection.axes.items() if axis in position
    )


def _axis_values(**cells: GridEntry | None) -> GridPosition:
    return {axis: cell.label if cell else None for axis, cell in cells.items()}


def _sort_key(trial: Trial) -> tuple[object, ...]:
    """Return the sort key of a trial in a plan, which does not depend on the order in the suite."""
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
    """Yield a problem for two labels with one fit, whose one number would look like two."""
    seen: dict[str, Trial] = {}
    reported: set[frozenset[str]] = set()
    for trial in trials:
        other = seen.setdefault(trial.id, trial)
        # One problem for a pair of labels, not one for each of its n and seeds.
        names = frozenset(
            f"{twin.source or ''} {twin.transfer} {twin.target}" for twin in (trial, other)
        )
        if other is not trial and names not in reported:
            reported.add(names)
            yield Problem(
                f"{suite.path}: {other.name!r} and {trial.name!r}, which ask for the same fit",
                "cells that differ in what they ask",
                "remove one of the entries, or change an option of it",
            )
