"""The rows of a submission, held against those of its board.

A submission has every cell of the board, and its own rows have every cell that the board's rows have:
each training on each subset, with each evaluation. Else its author could keep the best cells, by
`exclude` or `only`, and be ranked by them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from advtransfer.planning import Plan, Trial
from advtransfer.planning.pairing import TrainingPairs
from advtransfer.planning.trials import SubsetSize
from advtransfer.publication.cells import Fault, PlannedSuite, entry_faults, target_faults
from advtransfer.suite import GridEntry, Subset

RowKey: TypeAlias = tuple[str | None, str | None, str, str]
"""Source without its seed, adapter, transfer and target."""
CellKey: TypeAlias = tuple[str | None, SubsetSize, int]
"""Source, n and seed, within a row."""
Rows: TypeAlias = Mapping[RowKey, Mapping[CellKey, Trial]]

PLAN_FILE = "plan.json"


def board_faults(submitted: PlannedSuite, board: PlannedSuite, axes: frozenset[str]) -> list[Fault]:
    """Return where a submission's suite asks for other things than its board's suite.

    Args:
        submitted: What is submitted.
        board: The suite of this checkout.
        axes: The open axes, of ``sources``, ``adapters``, ``transfers``: there a submission may add.
    """
    faults = [*target_faults(submitted.suite, board.suite), *entry_faults(submitted, board, axes)]
    # Where a target or an evaluation differs, each trial would be a second fault.
    return faults or [
        *_board_row_faults(submitted.plan, board.plan),
        *_AddedRows(submitted, board).faults(),
    ]


def row_key(trial: Trial) -> RowKey:
    """Return the row of a board's page that a trial belongs to."""
    return trial.row, trial.adapter, trial.transfer, trial.target


def _trials_by_row(plan: Plan) -> Rows:
    rows: dict[RowKey, dict[CellKey, Trial]] = defaultdict(dict)
    for trial in plan.trials:
        rows[row_key(trial)][trial.source, trial.n, trial.seed] = trial
    return rows


def _board_row_faults(submitted: Plan, board: Plan) -> Iterator[Fault]:
    """Yield the trials and evaluations of the board that a submission lacks or changes."""
    theirs = _trials_by_row(submitted)
    for row, trials in _trials_by_row(board).items():
        for key, trial in trials.items():
            found = theirs.get(row, {}).get(key)
            if found is None:
                text = "found no such trial; expected that of the board"
                yield Fault(PLAN_FILE, trial.name, text)
            elif found.id != trial.id:
                text = f"found the id {found.id[:12]}; expected {trial.id[:12]}, the board's"
                yield Fault(PLAN_FILE, trial.name, text)
            else:
                yield from _evaluation_faults(found, trial.evaluations)


def _evaluation_faults(trial: Trial, expected: Iterable[str]) -> Iterator[Fault]:
    for label in expected:
        if label not in trial.evaluations:
            text = "found no such evaluation; expected it, as in the rows of the board"
            yield Fault(PLAN_FILE, f"{trial.name}, {label}", text)


class _AddedRows:
    """The rows that a submission adds to its board."""

    def __init__(self, submitted: PlannedSuite, board: PlannedSuite) -> None:
        self._submitted = submitted
        self._board = board
        self._rows = _trials_by_row(submitted.plan)
        self._board_keys = _trials_by_row(board.plan).keys()
        self._pairs = TrainingPairs(submitted.suite)
        self._targets = {target.key: target for target in submitted.suite.targets}
        self._needing_source = {
            cell.label for cell in board.suite.evaluations if "source" in cell.facts.needs
        }
        # Board trials by target, n and seed.
        self._trials: dict[tuple[str, SubsetSize, int], list[Trial]] = defaultdict(list)
        for trial in board.plan.trials:
            self._trials[trial.target, trial.n, trial.seed].append(trial)

    def faults(self) -> Iterator[Fault]:
        """Yield rows that are missing as a whole, then the cells that each row lacks."""
        present = {(row, transfer, target) for row, _, transfer, target in self._rows}
        for row, transfer, target in self._expected_rows():
            if (row, transfer, target) not in present:
                name = f"{row or 'no source'} -> {target} {transfer}"
                text = "found no trial of this row; expected it, as the board has every source with every transfer"
                yield Fault(
                    PLAN_FILE, name, f"{text}; remove the `exclude` or `only` that leaves it out"
                )
        added = self._rows.keys() - self._board_keys
        for key in sorted(added, key=str):
            # A reason to skip holds for a row, and the installed planner gives it.
            if not all(trial.skipped for trial in self._rows[key].values()):
                yield from self._row_faults(key)

    def _expected_rows(self) -> Iterator[tuple[str | None, str, str]]:
        """Yield source row, transfer and target of what each added source and transfer must have."""
        board = self._board.suite
        own_rows = {cell.row for cell in board.sources}
        own_transfers = {cell.label for cell in board.transfers}
        added_rows = {
            cell.row: None for cell in self._submitted.suite.sources if cell.row not in own_rows
        }
        added = [
            cell for cell in self._submitted.suite.transfers if cell.label not in own_transfers
        ]
        for target in self._targets:
            sources, shared = self._board_rows(target)
            for transfer in shared:
                yield from ((row, transfer, target) for row in added_rows)
            for cell in added:
                rows = sources if "source" in cell.facts.needs else (None,)
                yield from ((row, cell.label, target) for row in rows)

    def _board_rows(self, target: str) -> tuple[list[str], list[str]]:
        """Return the sources of the board at a target, and the transfers that all of them have there."""
        by_transfer: dict[str, set[str]] = defaultdict(set)
        for row, _, transfer, at in self._board_keys:
            if at == target and row is not None:
                by_transfer[transfer].add(row)
        sources = set().union(*by_transfer.values())
        shared = [transfer for transfer, rows in by_transfer.items() if rows == sources]
        return sorted(sources), sorted(shared)

    def _row_faults(self, key: RowKey) -> Iterator[Fault]:
        """Yield trials and evaluations that an added row lacks."""
        row, adapter, transfer, target = key
        trainings: list[GridEntry | None] = [
            cell for cell in self._submitted.suite.sources if cell.row == row
        ]
        for training in trainings or [None]:
            for subset in self._targets[target].subsets:
                at_subset = self._trials[target, subset.n, subset.seed]
                if not at_subset or not self._pairs.are_paired(training, subset):
                    continue
                source = training.label if training else None
                trial = self._rows[key].get((source, subset.n, subset.seed))
                if trial is None:
                    text = "found no such trial; expected every training and subset, as in the rows of the board"
                    yield Fault(
                        PLAN_FILE, _cell_name(source, adapter, transfer, target, subset), text
                    )
                else:
                    yield from _evaluation_faults(
                        trial, self._expected_evaluations(trial, at_subset)
                    )

    def _expected_evaluations(self, trial: Trial, at_subset: Sequence[Trial]) -> list[str]:
        """Return the evaluations that all trials of the board have which are most alike to a trial."""
        with_source = [
            each for each in at_subset if (each.source is None) == (trial.source is None)
        ]
        same_transfer = [each for each in with_source if each.transfer == trial.transfer]
        alike = same_transfer or with_source or at_subset
        labels = set(alike[0].evaluations).intersection(*(each.evaluations for each in alike))
        if trial.source is None:
            labels -= self._needing_source
        return sorted(labels)


def _cell_name(
    source: str | None, adapter: str | None, transfer: str, target: str, subset: Subset
) -> str:
    via = f" via {adapter}" if adapter else ""
    return f"{source or 'no source'}{via} -> {target} n={subset.n} seed={subset.seed} {transfer}"
