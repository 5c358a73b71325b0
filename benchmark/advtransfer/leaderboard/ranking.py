"""The order of the rows of a table, their differences to the baseline, and the best number of each column.

Suspicious results are never ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, inf
from typing import Literal, NamedTuple

from advtransfer.leaderboard.aggregates import Aggregate, aggregate_metrics, paired_difference
from advtransfer.leaderboard.probes import (
    combine_probes,
    grouped_ranks,
    is_comparable,
    rank_groups,
    usual_images,
)
from advtransfer.leaderboard.run_data import Metric, RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    TrialKey,
    find_column,
)
from advtransfer.result.evidence import Probe
from advtransfer.result.verdict import Verdict, worst_verdict
from advtransfer.statistics import holm_correction
from advtransfer.types import Json

SIGNIFICANCE_LEVEL = 0.05
"""Largest p value, after Holm's correction, of a difference that is marked."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The column that ranks rows, and whether its lowest value is best (a loss, a distance)."""

    column: Column
    lowest_is_best: bool

    def sort_score(self, aggregate: Aggregate) -> float:
        """Return the sort score, highest first; unknown outcomes count against a row."""
        return -aggregate.high if self.lowest_is_best else aggregate.low


def requested_ranking(data: RunData) -> Ranking | None:
    """Return the ranking that the suite requests, None without one.

    Raises:
        BadInput: Its metric is not in the records, or several match.
    """
    rank_by = data.plan.leaderboard.get("rank_by")
    if isinstance(rank_by, Mapping):
        return Ranking(find_column(str(rank_by["lowest"]), data), lowest_is_best=True)
    if not rank_by:
        return None
    return Ranking(find_column(str(rank_by), data), lowest_is_best=False)


class TrialSeconds(NamedTuple):
    """Seconds of a trial: of its fit, and of its evaluations without the host's own checks."""

    fit: float
    evaluations: float


@dataclass(frozen=True, slots=True)
class TableCell:
    """One number of the table.

    Attributes:
        aggregate: The mean over the row's trials.
        is_share: Whether it is a share of test samples.
        verdict: The worst verdict of its results.
        probe: The host's own attacks behind a robust accuracy, None for other metrics.
        best: Whether it is better than all others of its column, and no interval overlaps.
    """

    aggregate: Aggregate
    is_share: bool
    verdict: Verdict
    probe: Probe | None = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class TableLine:
    """One row of the table.

    Attributes:
        row: The row's names and trials.
        rank: Position by the ranking, None if the row is not ranked.
        cells: Numbers by column name.
        skipped: Columns whose evaluation is not applicable in this row.
        difference: Difference to the baseline, None if the row has no counterpart.
        is_difference_clear: Whether Holm's p over the differences of the table is below .05.
        done_count: Trials that are done.
        seconds: Mean seconds of a trial's phases, None if not measured.
        has_mixed_environments: Whether a record was made in an unusual environment.
        unlearned_count: Trials whose fit did not learn its task.
    """

    row: LeaderboardRow
    rank: int | None
    cells: Mapping[str, TableCell]
    skipped: frozenset[str]
    difference: Aggregate | Literal["baseline"] | None
    done_count: int
    seconds: TrialSeconds | None
    has_mixed_environments: bool
    unlearned_count: int = 0
    is_difference_clear: bool = False


def rank_rows(
    rows: Sequence[LeaderboardRow],
    *,
    columns: Sequence[Column],
    ranking: Ranking | None,
    data: RunData,
) -> list[TableLine]:
    """Return the rows of one table, best first, followed by the rows that are not ranked.

    Robust accuracies without a battery are ranked after those that are checked.
    """
    shown = {column.name: column for column in columns}
    if ranking:
        shown.setdefault(ranking.column.name, ranking.column)
    cells = {row: _row_cells(row, shown.values(), data) for row in rows}
    scores = _sort_scores(cells, ranking)
    unlearned = {row: _unlearned_count(row, data) for row in rows}
    learned = {row: row_cells for row, row_cells in cells.items() if not unlearned[row]}
    best = _best_cells(learned, shown, ranking)
    ranks = grouped_ranks(scores, _rank_groups(learned, ranking))

    def sort_key(row: LeaderboardRow) -> tuple[float, float, tuple[str, str, str]]:
        return ranks.get(row, inf), -scores.get(row, -inf), row.sort_key

    lines: list[TableLine] = []
    for row in sorted(rows, key=sort_key):
        marked = {name: replace(cell, best=cell is best[name]) for name, cell in cells[row].items()}
        line = TableLine(
            row,
            ranks.get(row),
            marked,
            skipped=frozenset(column.name for column in columns if row.is_skipped(column, data)),
            difference=_difference_to_baseline(row, rows, ranking, data),
            done_count=sum(data.trial_state(trial).value == "done" for trial in row.trials),
            seconds=_mean_seconds(row, data),
            has_mixed_environments=_has_mixed_environments(row, data),
            unlearned_count=unlearned[row],
        )
        lines.append(line)
    return _mark_clear_differences(lines)


def _mark_clear_differences(lines: Sequence[TableLine]) -> list[TableLine]:
    """Mark the differences that hold after Holm's correction for their number in the table."""
    differences = [line.difference for line in lines]
    tested = [
        each for each in differences if isinstance(each, Aggregate) and each.p_value is not None
    ]
    corrected = holm_correction([each.p_value for each in tested])
    clear = [
        each
        for each, p_value in zip(tested, corrected, strict=True)
        if p_value is not None and p_value < SIGNIFICANCE_LEVEL
    ]
    return [
        replace(line, is_difference_clear=any(line.difference is each for each in clear))
        for line in lines
    ]


def baseline_row(
    row: LeaderboardRow, rows: Sequence[LeaderboardRow], baseline: Json
) -> LeaderboardRow | None:
    """Return the baseline's row with which a row is compared, None without a single match."""
    if isinstance(baseline, Mapping):
        transfer = baseline["transfer"]
        # A transfer such as training from scratch has rows without a source, compared with all.
        sources = (row.source, None)
        matches = [
            other for other in rows if other.transfer == transfer and other.source in sources
        ]
    else:
        matches = [
            other for other in rows if other.source == baseline and other.transfer == row.transfer
        ]
    # Only a preference: a baseline source may need no adapter, or another one.
    same_adapter = [other for other in matches if other.adapter == row.adapter]
    matches = same_adapter or matches
    return matches[0] if len(matches) == 1 else None


def _row_cells(
    row: LeaderboardRow, columns: Iterable[Column], data: RunData
) -> dict[str, TableCell]:
    cells: dict[str, TableCell] = {}
    for column in columns:
        cell = _table_cell(row, column, data)
        if cell is not None:
            cells[column.name] = cell
    return cells


def _table_cell(row: LeaderboardRow, column: Column, data: RunData) -> TableCell | None:
    metrics = row.metric_values(column, data)
    if not metrics:
        return None
    results = [
        result
        for trial in row.trials
        for result in data.trial_results(trial, column.evaluation)
        if result is not None
    ]
    verdict = worst_verdict([result.metric_verdict(column.metric or "") for result in results])
    is_share = all(metric.is_share for metric in metrics.values())
    probe = combine_probes(metric.probe for metric in metrics.values())
    aggregate = aggregate_metrics(metrics, deterministic=row.is_deterministic(data))
    return TableCell(aggregate, is_share, verdict, probe)


def _sort_scores(
    cells: Mapping[LeaderboardRow, Mapping[str, TableCell]], ranking: Ranking | None
) -> dict[LeaderboardRow, float]:
    """Return the scores of all rows with the ranking metric, also of suspicious ones."""
    if ranking is None:
        return {}
    name = ranking.column.name
    return {
        row: ranking.sort_score(row_cells[name].aggregate)
        for row, row_cells in cells.items()
        if name in row_cells
    }


def _rank_groups(
    cells: Mapping[LeaderboardRow, Mapping[str, TableCell]], ranking: Ranking | None
) -> dict[LeaderboardRow, int]:
    """Return the group of each row that is ranked."""
    if ranking is None:
        return {}
    name = ranking.column.name
    ranked = {
        row: row_cells[name].probe
        for row, row_cells in cells.items()
        if name in row_cells and row_cells[name].verdict.is_ranked
    }
    return rank_groups(ranked)


def _unlearned_count(row: LeaderboardRow, data: RunData) -> int:
    return sum(data.unlearned_reason(trial) is not None for trial in row.trials)


def _best_cells(
    cells: Mapping[LeaderboardRow, Mapping[str, TableCell]],
    names: Iterable[str],
    ranking: Ranking | None,
) -> dict[str, TableCell | None]:
    """Return the best cell of each column, None without a clear one."""
    best: dict[str, TableCell | None] = {}
    for name in names:
        column_cells = [row_cells[name] for row_cells in cells.values() if name in row_cells]
        lowest = _is_lowest_best(name, ranking)
        best[name] = _best_cell(column_cells, lowest=lowest)
    return best


def _is_lowest_best(name: str, ranking: Ranking | None) -> bool:
    """Return whether the suite says that the lowest value of a column is its best."""
    return ranking is not None and ranking.lowest_is_best and ranking.column.name == name


def _best_cell(cells: Sequence[TableCell], *, lowest: bool) -> TableCell | None:
    """Return the highest share (or the lowest number) if its interval overlaps no other.

    Metrics that are not shares have no known direction unless they rank the rows.
    """
    usual = usual_images(cell.probe for cell in cells)
    # Suspicious numbers are often too good, and so are accuracies under attack without a battery:
    # they must not keep another from being the best.
    ranked = [cell for cell in cells if cell.verdict.is_ranked and is_comparable(cell.probe, usual)]
    intervals: list[tuple[float, float]] = []
    for cell in ranked:
        if cell.aggregate.interval and (cell.is_share or lowest):
            intervals.append(cell.aggregate.interval)
    if len(ranked) < 2 or len(intervals) < len(ranked):
        return None
    best = min(ranked, key=lambda cell: cell.aggregate.high if lowest else -cell.aggregate.low)
    low, high = intervals[ranked.index(best)]
    others = [end for cell, end in zip(ranked, intervals, strict=True) if cell is not best]
    if lowest:
        is_clear = all(high < other_low for other_low, _ in others)
    else:
        is_clear = all(low > other_high for _, other_high in others)
    return best if is_clear else None


def _difference_to_baseline(
    row: LeaderboardRow, rows: Sequence[LeaderboardRow], ranking: Ranking | None, data: RunData
) -> Aggregate | Literal["baseline"] | None:
    other = baseline_row(row, rows, data.plan.leaderboard.get("baseline"))
    if other is None or ranking is None:
        return None
    if other is row:
        return "baseline"
    ours = row.metric_values(ranking.column, data)
    theirs = other.metric_values(ranking.column, data)
    if _probed_images(ours) != _probed_images(theirs):
        return None
    return paired_difference(
        ours,
        theirs,
        deterministic=row.is_deterministic(data) and other.is_deterministic(data),
        has_trainings=row.source is not None and other.source is not None,
    )


def _probed_images(metrics: Mapping[TrialKey, Metric]) -> str | None:
    """Return which images the batteries behind some numbers attacked."""
    probe = combine_probes(metric.probe for metric in metrics.values())
    return None if probe is None else probe.images


def _mean_seconds(row: LeaderboardRow, data: RunData) -> TrialSeconds | None:
    """Return the mean seconds of a finished trial's phases, None if not timed."""
    fits: list[float] = []
    evaluations: list[float] = []
    for trial in row.trials:
        if data.trial_state(trial).value == "done":
            results = [id for id in trial.record_ids()[1:] if data.has_record(id)]
            fits.append(data.seconds[trial.id].get("fit", 0.0))
            # fsum does not depend on the order of the results.
            evaluations.append(fsum(data.seconds[id].get("measure", 0.0) for id in results))
    if not any((*fits, *evaluations)):
        return None
    return TrialSeconds(fsum(fits) / len(fits), fsum(evaluations) / len(evaluations))


def _has_mixed_environments(row: LeaderboardRow, data: RunData) -> bool:
    ids = (id for trial in row.trials for id in trial.record_ids())
    return any(data.has_unusual_environment(id) for id in ids)
