"""The order and ranks of the rows of a table, their differences to the baseline, and the best number of each column.

Rows are shown and never ranked that are suspicious, invalid or incomplete, or did not learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from advtransfer.leaderboard.aggregates import Aggregate, aggregate_metrics
from advtransfer.leaderboard.baselines import RowDifference, row_differences
from advtransfer.leaderboard.pair_tests import row_values
from advtransfer.leaderboard.probes import (
    combine_probes,
    is_comparable,
    rank_groups,
    usual_images,
)
from advtransfer.leaderboard.rank_groups import RankGroup, rank_group
from advtransfer.leaderboard.result_data import Metric
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    TrialKey,
    TrialSeconds,
    find_column,
    mean_seconds,
)
from advtransfer.result.evidence import Probe
from advtransfer.result.verdict import Verdict, worst_verdict
from advtransfer.statistics import RankRange


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


@dataclass(frozen=True, slots=True)
class TableCell:
    """One number of the table.

    Attributes:
        aggregate: The mean over the row's trials.
        is_share: Whether it is a share of test samples.
        verdict: The worst verdict of its results.
        probe: The host's own attacks behind a robust accuracy, None for other metrics.
        best: Whether the row is surely first in the column that ranks rows; in others, whether it is better
            than all others and no interval overlaps.
        further_data: The further data set that it is measured on, None for the target's own test part.
    """

    aggregate: Aggregate
    is_share: bool
    verdict: Verdict
    probe: Probe | None = None
    best: bool = False
    further_data: str | None = None


@dataclass(frozen=True, slots=True)
class TableLine:
    """One row of the table.

    Attributes:
        row: The row's names and trials.
        rank_range: Range of ranks that the differences to all others of its group allow, None if the row is not
            ranked.
        cells: Numbers by column name.
        skipped: Columns whose evaluation is not applicable in this row.
        differences: Difference to each of the suite's baselines, None if the row has no counterpart.
        done_count: Trials that are done.
        seconds: Mean seconds of a trial's phases, None if not measured.
        has_mixed_environments: Whether a record was made in an unusual environment.
        unlearned_count: Trials whose fit did not learn its task.
        is_incomplete: Whether trials lack the number that ranks rows, so that the row is not ranked.
        group: The rows that it is ranked among, None if it is not ranked.
    """

    row: LeaderboardRow
    rank_range: RankRange | None
    cells: Mapping[str, TableCell]
    skipped: frozenset[str]
    differences: tuple[RowDifference | None, ...]
    done_count: int
    seconds: TrialSeconds | None
    has_mixed_environments: bool
    unlearned_count: int = 0
    is_incomplete: bool = False
    group: RankGroup | None = None


def rank_rows(
    rows: Sequence[LeaderboardRow],
    *,
    columns: Sequence[Column],
    ranking: Ranking | None,
    data: RunData,
) -> list[TableLine]:
    """Return the rows of one table, best first, followed by the rows that are not ranked.

    Robust accuracies without a battery are ranked after those that are checked, as a group of their own.
    """
    shown = {column.name: column for column in columns}
    if ranking:
        shown.setdefault(ranking.column.name, ranking.column)
    cells: dict[LeaderboardRow, dict[str, TableCell]] = {}
    ranked_values: dict[LeaderboardRow, dict[TrialKey, Metric]] = {}
    for row in rows:
        values = {name: row.metric_values(column, data) for name, column in shown.items()}
        cells[row] = {
            name: _table_cell(row, shown[name], metrics, data)
            for name, metrics in values.items()
            if metrics
        }
        if ranking:
            ranked_values[row] = values[ranking.column.name]
    scores = _sort_scores(cells, ranking)
    unlearned = {row: _unlearned_count(row, data) for row in rows}
    learned = {row: row_cells for row, row_cells in cells.items() if not unlearned[row]}
    complete = {row: learned[row] for row in learned if _is_complete(row, cells, ranking)}
    best = _best_cells(complete, shown)
    groups = _rank_groups(complete, ranking)

    def sort_key(row: LeaderboardRow) -> tuple[float, float, tuple[str, str, str]]:
        return groups.get(row, inf), -scores.get(row, -inf), row.sort_key

    ordered = sorted(rows, key=sort_key)
    ranks = _ranks_of(ordered, groups, cells, ranking, data, values=ranked_values)
    differences = row_differences(ranked_values, data)
    lines: list[TableLine] = []
    for row in ordered:
        group, rank_range = ranks.get(row, (None, None))
        marked = {name: replace(cell, best=cell is best[name]) for name, cell in cells[row].items()}
        if ranking and ranking.column.name in marked:
            # Bold says what the ranks say: intervals that do not overlap need not tell rows apart.
            name = ranking.column.name
            is_first = group is not None and len(group.ranges) > 1 and rank_range == RankRange(1, 1)
            marked[name] = replace(marked[name], best=is_first)
        line = TableLine(
            row,
            rank_range,
            marked,
            skipped=frozenset(column.name for column in columns if row.is_skipped(column, data)),
            differences=differences.get(row, ()),
            done_count=sum(data.trial_state(trial).value == "done" for trial in row.trials),
            seconds=mean_seconds(row, data),
            has_mixed_environments=_has_mixed_environments(row, data),
            unlearned_count=unlearned[row],
            is_incomplete=ranking is not None and not _is_complete(row, cells, ranking),
            group=group,
        )
        lines.append(line)
    return lines


def _ranks_of(
    ordered: Sequence[LeaderboardRow],
    groups: Mapping[LeaderboardRow, int],
    cells: Mapping[LeaderboardRow, Mapping[str, TableCell]],
    ranking: Ranking | None,
    data: RunData,
    *,
    values: Mapping[LeaderboardRow, Mapping[TrialKey, Metric]],
) -> dict[LeaderboardRow, tuple[RankGroup, RankRange]]:
    """Return the group and the range of ranks of each row that is ranked."""
    ranks: dict[LeaderboardRow, tuple[RankGroup, RankRange]] = {}
    if ranking is None:
        return ranks
    for number in sorted(set(groups.values())):
        members = [row for row in ordered if groups.get(row) == number]
        member_values = [
            row_values(
                values[row],
                deterministic=row.is_deterministic(data),
                has_source=row.source is not None,
            )
            for row in members
        ]
        group = rank_group(
            member_values,
            lowest_is_best=ranking.lowest_is_best,
            is_share=all(cells[row][ranking.column.name].is_share for row in members),
            offset=len(ranks),
        )
        ranks |= {row: (group, each) for row, each in zip(members, group.ranges, strict=True)}
    return ranks


def _is_complete(
    row: LeaderboardRow,
    cells: Mapping[LeaderboardRow, Mapping[str, TableCell]],
    ranking: Ranking | None,
) -> bool:
    """Return whether every planned trial of a row has the number that ranks rows.

    Rows without some are not ranked: trials that fail are seldom the good ones.
    """
    if ranking is None:
        return True
    cell = cells[row].get(ranking.column.name)
    return cell is not None and cell.aggregate.trial_count == len(row.trials)


def _table_cell(
    row: LeaderboardRow, column: Column, metrics: Mapping[TrialKey, Metric], data: RunData
) -> TableCell:
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
    further_data = data.further_data(column.evaluation)
    return TableCell(aggregate, is_share, verdict, probe, further_data=further_data)


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
) -> dict[str, TableCell | None]:
    """Return the best cell of each column that does not rank rows, None without a clear one."""
    best: dict[str, TableCell | None] = {}
    for name in names:
        column_cells = [row_cells[name] for row_cells in cells.values() if name in row_cells]
        best[name] = _best_cell(column_cells)
    return best


def _best_cell(cells: Sequence[TableCell]) -> TableCell | None:
    """Return the highest share if its interval overlaps no other; other metrics have no known direction."""
    usual = usual_images(cell.probe for cell in cells)
    # Suspicious numbers are often too good, and so are accuracies under attack without a battery:
    # they must not keep another from being the best.
    ranked = [cell for cell in cells if cell.verdict.is_ranked and is_comparable(cell.probe, usual)]
    intervals = [
        cell.aggregate.interval for cell in ranked if cell.aggregate.interval and cell.is_share
    ]
    if len(ranked) < 2 or len(intervals) < len(ranked):
        return None
    best = max(ranked, key=lambda cell: cell.aggregate.low)
    low, _ = intervals[ranked.index(best)]
    others = [end for cell, end in zip(ranked, intervals, strict=True) if cell is not best]
    return best if all(low > other_high for _, other_high in others) else None


def _has_mixed_environments(row: LeaderboardRow, data: RunData) -> bool:
    return data.has_unusual_environment(id for trial in row.trials for id in trial.record_ids())
