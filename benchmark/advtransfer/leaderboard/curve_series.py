"""Numbers of a row along an axis: over labelled images n, the radius eps, or the epochs of a training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from advtransfer.leaderboard.aggregates import Aggregate, aggregate_metrics
from advtransfer.leaderboard.questions_config import owning_evaluation
from advtransfer.leaderboard.result_data import Metric
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    RowsByTable,
    TrialKey,
    group_rows,
)
from advtransfer.result.evidence import is_snapshot
from advtransfer.suite.figure_settings import metrics_by_eps
from advtransfer.types.metric_names import RESERVED_LABELS


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The metric of a row's trials at one x, or its difference to that of another row."""

    x: float
    metrics: Mapping[TrialKey, Metric]
    is_deterministic: bool = False
    difference: Aggregate | None = None

    def aggregate(self) -> Aggregate:
        """Return the mean over the trials, or the difference."""
        if self.difference is not None:
            return self.difference
        return aggregate_metrics(self.metrics, deterministic=self.is_deterministic)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The points of one row, by x; over n, the rows of several tables that differ in n alone."""

    rows: tuple[LeaderboardRow, ...]
    points: tuple[SeriesPoint, ...]

    @property
    def row(self) -> LeaderboardRow:
        """The first of the rows, whose names are those of all."""
        return self.rows[0]


@dataclass(frozen=True, slots=True)
class SeriesGroup:
    """The series that are drawn on one x axis.

    Attributes:
        target: Target.
        n: Labelled images, None for series over n.
        series: The series.
        ticks: Position and text of each x; empty where any x may occur.
        scale: Scale of the x axis.
        has_positions: Whether every position is that of a number, and not chosen for the drawing.
    """

    target: str
    n: int | str | None
    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    scale: Literal["log", "linear"] = "linear"
    has_positions: bool = True

    @property
    def title(self) -> str:
        """Name of the group: ``digits, n = 20``."""
        return self.target if self.n is None else f"{self.target}, n = {self.n}"


def series_over_n(column: Column, data: RunData) -> Iterator[SeriesGroup]:
    """Yield the series of a metric over n, one group for each target: those of large runs take much memory."""
    tables = group_rows(data)
    for target in sorted({target for target, _ in tables}):
        ticks, has_positions = axis_ticks(target, tables, data)
        rows: dict[tuple[str, str, str], list[LeaderboardRow]] = {}
        points: dict[tuple[str, str, str], list[SeriesPoint]] = {}
        for n, (x, _) in ticks.items():
            for row in tables[target, n]:
                rows.setdefault(row.sort_key, []).append(row)
                metrics = row.metric_values(column, data)
                if metrics:
                    point = SeriesPoint(x, metrics, row.is_deterministic(data))
                    points.setdefault(row.sort_key, []).append(point)
        series = tuple(Series(tuple(rows[key]), tuple(points[key])) for key in sorted(points))
        yield SeriesGroup(target, None, series, tuple(ticks.values()), "log", has_positions)


def axis_ticks(
    target: str, tables: RowsByTable, data: RunData
) -> tuple[dict[int | str, tuple[float, str]], bool]:
    """Return position and text of each n of a target, and whether the position of ``all`` is its number.

    `all` is placed at the number of labels that a fit recorded, or after the other counts if none
    did.
    """
    counts = sorted(n for other, n in tables if other == target and isinstance(n, int))
    ticks: dict[int | str, tuple[float, str]] = {n: (float(n), str(n)) for n in counts}
    if (target, "all") not in tables:
        return ticks, True
    labels_used = max(_labels_used(tables[target, "all"], data), default=None)
    if labels_used is None:
        ticks["all"] = (2.0 * max(counts, default=1), "all")
        return ticks, False
    ticks["all"] = (float(labels_used), f"all ({labels_used})")
    return ticks, True


def _labels_used(rows: Iterable[LeaderboardRow], data: RunData) -> Iterator[int]:
    for row in rows:
        for trial in row.trials:
            if trial.id in data.labels_used:
                yield data.labels_used[trial.id]


def eps_columns(name: str, data: RunData) -> dict[float, Column]:
    """Return the columns of a metric such as ``pgd.robust_accuracy`` by eps."""
    evaluation = owning_evaluation(name, [*data.metrics, *RESERVED_LABELS])
    if evaluation is None:
        return {}
    recorded = data.metrics.get(evaluation, set()) | data.derived_metrics.get(evaluation, set())
    metrics = metrics_by_eps(name.removeprefix(f"{evaluation}."), recorded)
    return {
        eps: Column(f"{evaluation}.{metric}", evaluation, metric) for eps, metric in metrics.items()
    }


def series_over_eps(columns: Mapping[float, Column], data: RunData) -> list[SeriesGroup]:
    """Return the series over eps, one group for each table; see `eps_columns`."""
    groups: list[SeriesGroup] = []
    for (target, n), rows in group_rows(data).items():
        series: list[Series] = []
        for row in rows:
            points: list[SeriesPoint] = []
            for eps, column in columns.items():
                metrics = row.metric_values(column, data)
                if metrics:
                    points.append(SeriesPoint(eps, metrics, row.is_deterministic(data)))
            if points:
                series.append(Series((row,), tuple(points)))
        groups.append(SeriesGroup(target, n, tuple(series)))
    return groups


def series_over_epochs(
    columns: Sequence[Column], curve: str | None, data: RunData
) -> list[SeriesGroup]:
    """Return the series over epochs, one group for each table.

    Args:
        columns: A metric and its snapshots (`epoch_columns`), or none.
        curve: A column of the fits' training curves in place of a metric.
        data: The run.
    """
    groups: list[SeriesGroup] = []
    for (target, n), rows in group_rows(data).items():
        series: list[Series] = []
        for row in rows:
            values = _curve_values(row, curve, data) if curve else {}
            for column in columns:
                for x, key, metric in _snapshot_values(row, column, data):
                    values.setdefault(x, {})[key] = metric
            points = tuple(SeriesPoint(x, values[x]) for x in sorted(values))
            if points:
                series.append(Series((row,), points))
        groups.append(SeriesGroup(target, n, tuple(series)))
    return groups


def epoch_columns(column: Column, data: RunData) -> list[Column]:
    """Return the columns of a metric's snapshots, and last the metric of the fitted model."""
    recorded = data.metrics.get(column.evaluation, set())
    snapshots = [
        name
        for name in recorded
        if name.rpartition("@")[0] == column.metric and is_snapshot(name, recorded)
    ]
    ordered = sorted(snapshots, key=lambda name: int(name.rpartition("@")[2]))
    return [
        *(Column(f"{column.evaluation}.{name}", column.evaluation, name) for name in ordered),
        column,
    ]


def _snapshot_values(
    row: LeaderboardRow, column: Column, data: RunData
) -> Iterator[tuple[float, TrialKey, Metric]]:
    """Yield epoch, trial and metric; the fitted model is that of its training's last epoch."""
    recorded = data.metrics.get(column.evaluation, set())
    epoch = None
    if is_snapshot(column.metric or "", recorded):
        epoch = int((column.metric or "").rpartition("@")[2])
    fits = {(trial.replicate, trial.seed): trial.id for trial in row.trials}
    for key, metric in row.metric_values(column, data).items():
        curves = data.curves.get(fits[key])
        if epoch is not None:
            yield float(epoch), key, metric
        elif curves is not None:
            yield float(curves.last_epoch), key, metric


def _curve_values(
    row: LeaderboardRow, curve: str, data: RunData
) -> dict[float, dict[TrialKey, Metric]]:
    """Return a column of the training curves by epoch and trial."""
    values: dict[float, dict[TrialKey, Metric]] = {}
    for trial in row.trials:
        curves = data.curves.get(trial.id)
        if curves is not None:
            for epoch, value in curves.columns.get(curve, ()):
                # A share by its name only: records do not say which columns are.
                metric = Metric(value, value, is_plugin_share=curve.endswith("accuracy"))
                values.setdefault(float(epoch), {})[trial.replicate, trial.seed] = metric
    return values
