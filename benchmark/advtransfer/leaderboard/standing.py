"""How rows stand beside each other: means with intervals, paired deltas, ranks; suspicious results are never ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, inf
from typing import Literal

from advtransfer.leaderboard.columns import Column
from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.fate import fate
from advtransfer.leaderboard.ranges import Range, delta_of, mean_of
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
    """One row of the table; `cells` by column name, `done` of its trials have every record, `seconds` a trial."""

    row: Row
    rank: int | None
    cells: Mapping[str, Cell]
    delta: Range | Literal["baseline"] | None
    done: int
    seconds: float | None
    mixed: bool


def lines(rows: Sequence[Row], *, columns: Sequence[Column], rank_by: Column | None, evidence: Evidence) -> list[Line]:
    """The rows of one table, best first; rows that are not ranked follow."""
    shown = {column.name: column for column in (*columns, *([rank_by] if rank_by else []))}
    cells = {
        row: {name: cell for name, column in shown.items() if (cell := _cell(row, column, evidence))} for row in rows
    }
    ranked_by = {row: cells[row][rank_by.name] for row in rows if rank_by and rank_by.name in cells[row]}
    ranks = _ranks(ranked_by)
    best = {name: _best([cells[row][name] for row in rows if name in cells[row]]) for name in shown}

    def order(row: Row) -> tuple[float, float, tuple[str, str, str]]:
        return ranks.get(row, inf), -ranked_by[row].range.low if row in ranked_by else inf, row.name

    return [
        Line(
            row,
            ranks.get(row),
            {name: replace(cell, best=best[name] is cell) for name, cell in cells[row].items()},
            _delta(row, rows, rank_by, evidence),
            sum(fate(trial, evidence).status == "done" for trial in row.trials),
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


def _ranks(cells: Mapping[Row, Cell]) -> dict[Row, int]:
    """Places by the mean, higher better, unknown outcomes counted as broken; equal means share a place."""
    values = {row: cell.range.low for row, cell in cells.items() if cell.verdict.ranked}
    return {row: 1 + sum(other > value for other in values.values()) for row, value in values.items()}


def _best(cells: Sequence[Cell]) -> Cell | None:
    """The highest share, if its interval lies above that of every other; other metrics have no known direction."""
    believed = [cell for cell in cells if cell.share and cell.verdict.ranked and cell.range.interval]
    if len(believed) < 2 or len(believed) < len([cell for cell in cells if cell.verdict.ranked]):
        return None
    first, *others = sorted(believed, key=lambda cell: -cell.range.low)
    floor, ceilings = first.range.interval, [cell.range.interval for cell in others]
    return first if floor and all(ceiling and floor[0] > ceiling[1] for ceiling in ceilings) else None


def _delta(
    row: Row, rows: Sequence[Row], rank_by: Column | None, evidence: Evidence
) -> Range | Literal["baseline"] | None:
    other = partner(row, rows, evidence.plan.leaderboard.get("baseline"))
    if other is None or rank_by is None:
        return None
    return "baseline" if other is row else delta_of(row.values(rank_by, evidence), other.values(rank_by, evidence))


def _seconds(row: Row, evidence: Evidence) -> float | None:
    """The mean over finished trials of what the fit and its results took together; None where nothing was timed."""
    sums = [
        fsum(evidence.seconds[id] for id in trial.records())
        for trial in row.trials
        if fate(trial, evidence).status == "done"
    ]
    return fsum(sums) / len(sums) if any(sums) else None
