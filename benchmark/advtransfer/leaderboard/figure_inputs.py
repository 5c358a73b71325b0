"""Inputs of a figure: its settings and the numbers of its run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.aggregates import Aggregate, aggregate_metrics
from advtransfer.leaderboard.questions_config import read_selection
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import Column, LeaderboardRow, find_column, group_rows
from advtransfer.types import FigureInputs, FigureRow, Json


@dataclass(frozen=True, slots=True)
class RunFigureInputs:
    """The settings of a figure, and the run that it is drawn from.

    Attributes:
        settings: The keys of the figure as the plan stores them.
        run: The run.
    """

    settings: Mapping[str, Json]
    run: RunData

    def rows(self, metric: str) -> Sequence[FigureRow]:
        """Return the rows that have a metric, ordered by target and n; see `FigureInputs`."""
        return [
            _figure_row(cell)
            for cell in cells_of(find_column(metric, self.run), self.run, self.settings)
        ]


@dataclass(frozen=True, slots=True)
class FigureCell:
    """The number of one row at one target and n."""

    target: str
    n: int | str
    row: LeaderboardRow
    aggregate: Aggregate
    values: Mapping[tuple[int | None, int], float]
    is_share: bool

    @property
    def mean(self) -> float:
        """The mean; unknown outcomes leave a range, of which it is the middle."""
        return (self.aggregate.low + self.aggregate.high) / 2

    def label_on(self, axis: str) -> str:
        """Return the label of the cell on an axis of the grid, sources without their replicates."""
        labels = {
            "source": self.row.source or "no source",
            "adapter": self.row.adapter or "no adapter",
            "transfer": self.row.transfer,
            "target": self.target,
            "n": str(self.n),
        }
        return labels[axis]


def run_of(inputs: FigureInputs) -> RunData:
    """Return the run behind a figure, for the host's own kinds."""
    assert isinstance(inputs.run, RunData)
    return inputs.run


def metric_column(inputs: FigureInputs, key: str = "metric") -> Column:
    """Return the column that a key of a figure names.

    Raises:
        BadInput: No record has such a metric, or several match.
    """
    return find_column(str(inputs.settings.get(key)), run_of(inputs))


def metric_columns(inputs: FigureInputs) -> list[Column]:
    """Return the columns of ``metrics``, one or several.

    Raises:
        BadInput: No record has such a metric, or several match.
    """
    names = inputs.settings.get("metrics")
    listed = names if isinstance(names, list | tuple) else [names]
    return [find_column(str(name), run_of(inputs)) for name in listed]


def cells_of(column: Column, data: RunData, settings: Mapping[str, Json]) -> Iterator[FigureCell]:
    """Yield the number of each row that the figure's ``given`` selects and that has the metric."""
    selection = read_selection(settings.get("given"))
    for (target, n), rows in group_rows(data).items():
        for row in rows:
            trials = tuple(trial for trial in row.trials if selection.selects_trial(trial))
            if not trials:
                continue
            selected = LeaderboardRow(row.source, row.adapter, row.transfer, trials)
            metrics = selected.metric_values(column, data)
            if metrics:
                yield FigureCell(
                    target,
                    n,
                    selected,
                    aggregate_metrics(metrics, deterministic=selected.is_deterministic(data)),
                    {key: (metric.low + metric.high) / 2 for key, metric in metrics.items()},
                    all(metric.is_share for metric in metrics.values()),
                )


def _figure_row(cell: FigureCell) -> FigureRow:
    row = cell.row
    return FigureRow(
        cell.target,
        cell.n,
        row.source,
        row.adapter,
        row.transfer,
        cell.mean,
        cell.aggregate.interval,
        cell.values,
    )


def figure_error(settings: object, expected: str) -> BadInput:
    """Return the error of a figure that the records cannot give."""
    found = f"leaderboard figure {settings!r}"
    return BadInput([Problem(found, expected, "correct it in the suite and run it again")])


def axis_label(column: Column, data: RunData, *, name: str | None = None) -> str:
    """Return the label of an axis of numbers with its unit."""
    text = name or column.name
    for trial in data.plan.trials:
        metric = column.metric_of(trial, data)
        if metric is not None:
            return f"{text}\n(share of test images)" if metric.is_share else text
    return text
