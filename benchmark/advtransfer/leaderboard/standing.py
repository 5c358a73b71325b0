"""How rows stand beside each other: means with intervals, paired deltas, ranks; suspicious results are never ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, inf
from typing import Literal

from advtransfer.leaderboard.columns import Column
from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.ranges import Range, delta_of, mean_of
from advtransfer.leaderboard.ranking import Ranking
from advtransfer.leaderboard.rows import Row
from advtransfer.types import Json
from advtransfer.verdict import Verdict, worst


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the table; `share` when it is a share of test samples, `best` when nothing else comes near it."""

    range: Range
    share: bool
    verdict: Verdict
    best: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table; `cells` by column name, `done` of its trials are done, `seconds` a trial.

    `skipped` are the columns whose evaluation makes no sense in this row.
    """

    row: Row
    rank: int | None
    cells: Mapping[str, Cell]
    skipped: frozenset[str]
    delta: Range | Literal["baseline"] | None
    done: int
    seconds: float | None
    mixed: bool


def lines(rows: Sequence[Row], *, columns: Sequence[Column], ranking: Ranking | None, evidence: Evidence) -> list[Line]:
    """The rows of one table, best first; rows that are not ranked follow."""
    shown = {column.name: column for column in (*columns, *([ranking.column] if ranking else []))}
    cells = {
        row: {name: cell for name, column in shown.items() if (cell := _cell(row, column, evidence))} for row in rows
    }
    by = ranking.column.name if ranking else ""
    scores = {row: ranking.score(there[by].range) for row, there in cells.items() if ranking and by in there}
    ranks = _ranks({row: score for row, score in scores.items() if cells[row][by].verdict.ranked})
    best = {
        name: _best([there[name] for there in cells.values() if name in there], lowest=_lowest(name, ranking))
        for name in shown
    }

    def order(row: Row) -> tuple[float, float, tuple[str, str, str]]:
        return ranks.get(row, inf), -scores.get(row, -inf), row.name

    return [
        Line(
            row,
            ranks.get(row),
            {name: replace(cell, best=best[name] is cell) for name, cell in cells[row].items()},
            frozenset(column.name for column in columns if row.skips(column, evidence)),
            _delta(row, rows, ranking, evidence),
            sum(evidence.state(trial).value == "done" for trial in row.trials),
            _seconds(row, evidence),
            any(evidence.odd(id) for trial in row.trials for id in trial.records()),
        )
        for row in sorted(rows, key=order)
    ]


def partner(row: Row, rows: Sequence[Row], baseline: Json) -> Row | None:
    """The row that another is compared with: of the baseline source, or of the baseline transfer; None if none fits."""
    if isinstance(baseline, Mapping):
        fitting = [one for one in rows if one.transfer == baseline["transfer"] and one.source in (row.source, None)]
    else:
        fitting = [one for one in rows if one.source == baseline and one.transfer == row.transfer]
    fitting = [one for one in fitting if one.adapter == row.adapter] or fitting
    return fitting[0] if len(fitting) == 1 else None


def _cell(row: Row, column: Column, evidence: Evidence) -> Cell | None:
    metrics = row.values(column, evidence)
    if not metrics:
        return None
    ids = [id for trial in row.trials for id in trial.evaluations.get(column.evaluation, ())]
    verdicts = [evidence.answers[id].verdict for id in ids if id in evidence.answers]
    return Cell(mean_of(metrics), all(metric.of for metric in metrics.values()), worst(verdicts))


def _ranks(scores: Mapping[Row, float]) -> dict[Row, int]:
    """Places by score, the greatest first; equal scores share a place."""
    return {row: 1 + sum(other > score for other in scores.values()) for row, score in scores.items()}


def _lowest(name: str, ranking: Ranking | None) -> bool:
    """Whether the lowest value of a column is its best, as far as the suite says."""
    return ranking is not None and ranking.lowest and ranking.column.name == name


def _best(cells: Sequence[Cell], *, lowest: bool) -> Cell | None:
    """The highest share, if its interval lies above every other; the lowest number, if below, where lowest is best.

    Metrics that are no shares have no known direction unless the rows are ranked by them.
    """
    ranked = [cell for cell in cells if cell.verdict.ranked]
    ends = [cell.range.interval for cell in ranked if cell.range.interval and (cell.share or lowest)]
    if len(ranked) < 2 or len(ends) < len(ranked):
        return None
    first = min(ranked, key=lambda cell: cell.range.high if lowest else -cell.range.low)
    others = [end for cell, end in zip(ranked, ends, strict=True) if cell is not first]
    low, high = ends[ranked.index(first)]
    return first if all(high < end[0] if lowest else low > end[1] for end in others) else None


def _delta(
    row: Row, rows: Sequence[Row], ranking: Ranking | None, evidence: Evidence
) -> Range | Literal["baseline"] | None:
    other = partner(row, rows, evidence.plan.leaderboard.get("baseline"))
    if other is None or ranking is None:
        return None
    column = ranking.column
    return "baseline" if other is row else delta_of(row.values(column, evidence), other.values(column, evidence))


def _seconds(row: Row, evidence: Evidence) -> float | None:
    """The mean over finished trials of what the fit and its results took together; None where nothing was timed."""
    sums = [
        fsum(evidence.seconds[id] for id in trial.records() if evidence.done(id))
        for trial in row.trials
        if evidence.state(trial).value == "done"
    ]
    return fsum(sums) / len(sums) if any(sums) else None
