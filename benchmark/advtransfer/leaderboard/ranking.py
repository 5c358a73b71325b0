"""Aggregates of the trials of a row, differences to the baseline, and the order of rows.

Suspicious results are never ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, inf
from typing import Literal, TypeAlias

from advtransfer.leaderboard.run_data import Metric, RunData
from advtransfer.leaderboard.table_rows import Column, LeaderboardRow, TrialKey, find_column
from advtransfer.result.verdict import Verdict, worst_verdict
from advtransfer.statistics import MeanEstimate, clustered_interval, mean_interval, wilson_interval
from advtransfer.types import Json

IntervalBasis: TypeAlias = Literal["seeds", "sources", "deterministic", "single", "none"]
"""What an interval is over: subset seeds; source trainings; test images, as all trials agree or as there is one."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A mean with its 95 % interval; unknown outcomes leave it between `low` (all broken) and `high` (all robust)."""

    low: float
    high: float
    interval: tuple[float, float] | None
    basis: IntervalBasis
    unit_count: int
    trial_count: int


def aggregate_metrics(metrics: Mapping[TrialKey, Metric]) -> Aggregate:
    """The mean over a row's trials.

    The interval is a t-interval over subset seeds, or over source trainings where the source has replicates; without
    spread, and for a single trial, it is the Wilson interval over test images.
    """
    found = _aggregate(metrics)
    samples = min((metric.sample_count or 0 for metric in metrics.values()), default=0)
    if not samples:
        return found
    if found.interval is None:
        ends = (
            wilson_interval(round(found.low * samples), samples)[0],
            wilson_interval(round(found.high * samples), samples)[1],
        )
        return replace(
            found, interval=ends, basis="single" if found.trial_count == 1 else "deterministic"
        )
    return replace(found, interval=(max(0.0, found.interval[0]), min(1.0, found.interval[1])))


def paired_difference(
    ours: Mapping[TrialKey, Metric], theirs: Mapping[TrialKey, Metric]
) -> Aggregate | None:
    """The mean of ``ours - theirs``, paired by replicate and seed; a single training pairs with every replicate."""
    left, right = _repeat_per_replicate(ours, over=theirs), _repeat_per_replicate(theirs, over=ours)
    shared = [key for key in left if key in right]
    deltas = {
        key: Metric(left[key].low - right[key].high, left[key].high - right[key].low)
        for key in shared
    }
    return _aggregate(deltas) if deltas else None


def _aggregate(metrics: Mapping[TrialKey, Metric]) -> Aggregate:
    low = _estimate_mean({key: metric.low for key, metric in metrics.items()})
    high = _estimate_mean({key: metric.high for key, metric in metrics.items()})
    basis: IntervalBasis = "none"
    ends = None
    if low.interval or high.interval:
        basis = "sources" if len(_replicates_of(metrics)) > 1 else "seeds"
        ends = ((low.interval or (low.mean,))[0], (high.interval or (high.mean,))[-1])
    return Aggregate(low.mean, high.mean, ends, basis, low.units, len(metrics))


def _estimate_mean(values: Mapping[TrialKey, float]) -> MeanEstimate:
    """Values of one replicate share its training, so that with several the replicate is the unit."""
    replicates = _replicates_of(values)
    if len(replicates) == 1:
        return mean_interval(values.values())
    return clustered_interval(
        {one: [value for key, value in values.items() if key[0] == one] for one in replicates}
    )


def _repeat_per_replicate(
    metrics: Mapping[TrialKey, Metric], *, over: Iterable[TrialKey]
) -> dict[TrialKey, Metric]:
    """A single training's values under each replicate of the other side."""
    if len(_replicates_of(metrics)) > 1:
        return dict(metrics)
    replicates = _replicates_of(over)
    return {(one, seed): metric for (_, seed), metric in metrics.items() for one in replicates}


def _replicates_of(keys: Iterable[TrialKey]) -> set[int | None]:
    return {replicate for replicate, _ in keys}


@dataclass(frozen=True, slots=True)
class Ranking:
    """A column whose highest value is best, or whose lowest is: a loss, a distance."""

    column: Column
    lowest_is_best: bool

    def sort_score(self, found: Aggregate) -> float:
        """What rows are sorted by, greatest first; unknown outcomes count against a row."""
        return -found.high if self.lowest_is_best else found.low


def requested_ranking(evidence: RunData) -> Ranking | None:
    """The ranking that the suite asks for.

    Raises:
        BadInput: Its metric is not in the records, or fits several.
    """
    asked = evidence.plan.leaderboard.get("rank_by")
    if isinstance(asked, Mapping):
        return Ranking(find_column(str(asked["lowest"]), evidence), lowest_is_best=True)
    return Ranking(find_column(str(asked), evidence), lowest_is_best=False) if asked else None


@dataclass(frozen=True, slots=True)
class TableCell:
    """One number of the table; `share` when it is a share of test samples, `best` when nothing else comes near it."""

    aggregate: Aggregate
    is_share: bool
    verdict: Verdict
    best: bool = False


@dataclass(frozen=True, slots=True)
class TableLine:
    """One row of the table; `cells` by column name, `done` of its trials are done, `seconds` a trial.

    `skipped` are the columns whose evaluation makes no sense in this row.
    """

    row: LeaderboardRow
    rank: int | None
    cells: Mapping[str, TableCell]
    skipped: frozenset[str]
    difference: Aggregate | Literal["baseline"] | None
    done_count: int
    seconds: float | None
    has_mixed_environments: bool


def rank_rows(
    rows: Sequence[LeaderboardRow],
    *,
    columns: Sequence[Column],
    ranking: Ranking | None,
    evidence: RunData,
) -> list[TableLine]:
    """The rows of one table, best first; rows that are not ranked follow."""
    shown = {column.name: column for column in (*columns, *([ranking.column] if ranking else []))}
    cells = {
        row: {
            name: cell
            for name, column in shown.items()
            if (cell := _table_cell(row, column, evidence))
        }
        for row in rows
    }
    by = ranking.column.name if ranking else ""
    scores = {
        row: ranking.sort_score(there[by].aggregate)
        for row, there in cells.items()
        if ranking and by in there
    }
    ranks = _ranks_by_score(
        {row: score for row, score in scores.items() if cells[row][by].verdict.is_ranked}
    )
    best = {
        name: _best_cell(
            [there[name] for there in cells.values() if name in there],
            lowest=_is_lowest_best(name, ranking),
        )
        for name in shown
    }

    def order(row: LeaderboardRow) -> tuple[float, float, tuple[str, str, str]]:
        return ranks.get(row, inf), -scores.get(row, -inf), row.sort_key

    return [
        TableLine(
            row,
            ranks.get(row),
            {name: replace(cell, best=best[name] is cell) for name, cell in cells[row].items()},
            frozenset(column.name for column in columns if row.is_skipped(column, evidence)),
            _difference_to_baseline(row, rows, ranking, evidence),
            sum(evidence.trial_state(trial).value == "done" for trial in row.trials),
            _mean_seconds(row, evidence),
            any(
                evidence.has_unusual_environment(id)
                for trial in row.trials
                for id in trial.record_ids()
            ),
        )
        for row in sorted(rows, key=order)
    ]


def baseline_row(
    row: LeaderboardRow, rows: Sequence[LeaderboardRow], baseline: Json
) -> LeaderboardRow | None:
    """The row that another is compared with: of the baseline source, or of the baseline transfer; None if none fits."""
    if isinstance(baseline, Mapping):
        fitting = [
            one
            for one in rows
            if one.transfer == baseline["transfer"] and one.source in (row.source, None)
        ]
    else:
        fitting = [one for one in rows if one.source == baseline and one.transfer == row.transfer]
    fitting = [one for one in fitting if one.adapter == row.adapter] or fitting
    return fitting[0] if len(fitting) == 1 else None


def _table_cell(row: LeaderboardRow, column: Column, evidence: RunData) -> TableCell | None:
    metrics = row.metric_values(column, evidence)
    if not metrics:
        return None
    ids = [id for trial in row.trials for id in trial.evaluations.get(column.evaluation, ())]
    verdicts = [evidence.results[id].verdict for id in ids if id in evidence.results]
    return TableCell(
        aggregate_metrics(metrics),
        all(metric.sample_count for metric in metrics.values()),
        worst_verdict(verdicts),
    )


def _ranks_by_score(scores: Mapping[LeaderboardRow, float]) -> dict[LeaderboardRow, int]:
    """Places by score, the greatest first; equal scores share a place."""
    return {
        row: 1 + sum(other > score for other in scores.values()) for row, score in scores.items()
    }


def _is_lowest_best(name: str, ranking: Ranking | None) -> bool:
    """Whether the lowest value of a column is its best, as far as the suite says."""
    return ranking is not None and ranking.lowest_is_best and ranking.column.name == name


def _best_cell(cells: Sequence[TableCell], *, lowest: bool) -> TableCell | None:
    """The highest share, if its interval lies above every other; the lowest number, if below, where lowest is best.

    Metrics that are no shares have no known direction unless the rows are ranked by them.
    """
    ranked = [cell for cell in cells if cell.verdict.is_ranked]
    ends = [
        cell.aggregate.interval
        for cell in ranked
        if cell.aggregate.interval and (cell.is_share or lowest)
    ]
    if len(ranked) < 2 or len(ends) < len(ranked):
        return None
    first = min(ranked, key=lambda cell: cell.aggregate.high if lowest else -cell.aggregate.low)
    others = [end for cell, end in zip(ranked, ends, strict=True) if cell is not first]
    low, high = ends[ranked.index(first)]
    return first if all(high < end[0] if lowest else low > end[1] for end in others) else None


def _difference_to_baseline(
    row: LeaderboardRow, rows: Sequence[LeaderboardRow], ranking: Ranking | None, evidence: RunData
) -> Aggregate | Literal["baseline"] | None:
    other = baseline_row(row, rows, evidence.plan.leaderboard.get("baseline"))
    if other is None or ranking is None:
        return None
    column = ranking.column
    return (
        "baseline"
        if other is row
        else paired_difference(
            row.metric_values(column, evidence), other.metric_values(column, evidence)
        )
    )


def _mean_seconds(row: LeaderboardRow, evidence: RunData) -> float | None:
    """The mean over finished trials of what the fit and its results took together; None where nothing was timed."""
    sums = [
        fsum(evidence.seconds[id] for id in trial.record_ids() if evidence.has_record(id))
        for trial in row.trials
        if evidence.trial_state(trial).value == "done"
    ]
    return fsum(sums) / len(sums) if any(sums) else None
