"""Differences of series to those of a baseline, paired as in the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from advtransfer.leaderboard.aggregates import untested_difference
from advtransfer.leaderboard.baselines import baseline_row
from advtransfer.leaderboard.curve_series import Series, SeriesGroup, SeriesPoint
from advtransfer.leaderboard.run_data import RunData
from advtransfer.types import Json


def difference_groups(
    groups: Sequence[SeriesGroup], baseline: Json, data: RunData
) -> list[SeriesGroup]:
    """Return the groups with each series as its difference to the baseline's, without those that have none.

    Args:
        groups: The series.
        baseline: A source, or ``{transfer: label}``.
        data: The run.
    """
    differences: list[SeriesGroup] = []
    for group in groups:
        by_row = {series.row: series for series in group.series}
        series: list[Series] = []
        for ours in group.series:
            other = baseline_row(ours.row, list(by_row), baseline)
            if other is not None and other is not ours.row:
                points = _difference_points(ours, by_row[other], data)
                if points:
                    series.append(replace(ours, points=points))
        differences.append(replace(group, series=tuple(series)))
    return differences


def _difference_points(ours: Series, theirs: Series, data: RunData) -> tuple[SeriesPoint, ...]:
    """Return the differences where both series have a point with a common trial."""
    by_x = {point.x: point for point in theirs.points}
    # Over n, the first row is not that of every point.
    has_trainings = ours.row.source is not None and theirs.row.source is not None
    points: list[SeriesPoint] = []
    for point in ours.points:
        other = by_x.get(point.x)
        if other is None:
            continue
        difference = untested_difference(
            point.metrics,
            other.metrics,
            deterministic=point.is_deterministic and other.is_deterministic,
            has_trainings=has_trainings,
        )
        if difference is not None:
            points.append(replace(point, difference=difference.aggregate))
    return tuple(points)
