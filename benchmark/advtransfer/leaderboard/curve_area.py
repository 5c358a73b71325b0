"""The area under a curve as one number: the mean of a metric over log n, or over the epochs of a training.

The trapezoid rule, divided by the length of the axis. A trial's area is a weighted mean of its numbers at each x, so
that it has the interval of such a number: over the same seeds or trainings, and test images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

from advtransfer.leaderboard.aggregates import (
    Aggregate,
    aggregate_metrics,
    untested_difference,
)
from advtransfer.leaderboard.baselines import baseline_label, baseline_row
from advtransfer.leaderboard.curve_series import Series, SeriesGroup, series_over_n
from advtransfer.leaderboard.figure_inputs import metric_column
from advtransfer.leaderboard.figure_kinds.curves import epoch_series, epoch_texts
from advtransfer.leaderboard.figure_requests import figure_requests
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    format_range,
    inline_code,
    join_parts,
    markdown_table,
)
from advtransfer.leaderboard.probes import combine_probes
from advtransfer.leaderboard.questions_config import owning_evaluation
from advtransfer.leaderboard.ranking import requested_ranking
from advtransfer.leaderboard.result_data import ImageShares, Metric
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, TrialKey
from advtransfer.statistics import trapezoid_weights
from advtransfer.text import ABSENT

MIN_POSITIONS = 2


@dataclass(frozen=True, slots=True, eq=False)
class CurveArea:
    """The area under one row's curve.

    Attributes:
        row: The row, at the first of its n.
        aggregate: Mean of the metric over the axis, with its interval over trials and images.
        difference: Difference to the baseline's area, paired, None without a counterpart.
        is_baseline: Whether the row is the baseline.
        doubt: Why the row is not ranked, empty where it may be.
        planned_count: Trials that are planned at each x.
    """

    row: LeaderboardRow
    aggregate: Aggregate
    difference: Aggregate | None
    is_baseline: bool
    doubt: str
    planned_count: int


@dataclass(frozen=True, slots=True)
class AreaTable:
    """The areas of the rows of one target (over n), or of one table (over epochs), largest first.

    Attributes:
        metric: Metric or column of training curves.
        axis: ``log n`` or ``epoch``.
        title: Target, and n over epochs.
        positions: The x of the curves.
        areas: The areas.
    """

    metric: str
    axis: str
    title: str
    positions: tuple[float, ...]
    areas: tuple[CurveArea, ...]


def area_tables(data: RunData) -> list[AreaTable]:
    """Return the areas of a run: over n of the ranking metric and of figures over n, over epochs of figures.

    Raises:
        BadInput: A figure or the ranking names an unknown metric.
    """
    columns = {}
    ranking = requested_ranking(data)
    if ranking is not None:
        columns[ranking.column.key] = ranking.column
    requests = figure_requests(data)
    for request in requests:
        if request.name == "accuracy_vs_n":
            column = metric_column(request.inputs)
            columns.setdefault(column.key, column)
    tables: list[AreaTable] = []
    for column in columns.values():
        if column.metric is not None:
            groups = (group for group in series_over_n(column, data) if group.has_positions)
            tables += _axis_tables(groups, column.name, "log n", data)
    for request in requests:
        if request.name == "metric_vs_epoch":
            name, *_ = epoch_texts(request.inputs)
            tables += _axis_tables(epoch_series(request.inputs), name, "epoch", data)
    return tables


def _axis_tables(
    groups: Iterable[SeriesGroup], metric: str, axis: str, data: RunData
) -> list[AreaTable]:
    tables: list[AreaTable] = []
    for group in groups:
        ticks = {x for x, _ in group.ticks}
        positions = sorted(ticks or {point.x for each in group.series for point in each.points})
        if len(positions) >= MIN_POSITIONS:
            scaled = [log(x) for x in positions] if axis == "log n" else positions
            areas = _group_areas(group, positions, trapezoid_weights(scaled), data, metric)
            if areas:
                tables.append(AreaTable(metric, axis, group.title, tuple(positions), areas))
    return tables


def _group_areas(
    group: SeriesGroup,
    positions: Sequence[float],
    weights: Sequence[float],
    data: RunData,
    metric: str,
) -> tuple[CurveArea, ...]:
    """Return the areas of the rows that have a number at every position, largest first."""
    trials: dict[LeaderboardRow, dict[TrialKey, Metric]] = {}
    for series in group.series:
        by_x = {point.x: point.metrics for point in series.points}
        if all(x in by_x for x in positions):
            metrics = area_metrics([by_x[x] for x in positions], weights)
            if metrics:
                trials[series.row] = metrics
    owner = owning_evaluation(metric, data.metrics)
    further = None if owner is None else data.further_data(owner)
    doubts = {series.row: _doubt_text(series, data, further) for series in group.series}
    baseline = data.plan.leaderboard.get("baseline")
    areas: list[CurveArea] = []
    for row, metrics in trials.items():
        other = baseline_row(row, list(trials), baseline)
        areas.append(
            CurveArea(
                row,
                aggregate_metrics(metrics),
                _difference(row, other, trials),
                is_baseline=other is row,
                doubt=doubts[row],
                planned_count=len(row.trials),
            )
        )
    ranking = requested_ranking(data)
    sign = 1 if ranking is not None and ranking.lowest_is_best else -1
    return tuple(
        sorted(
            areas, key=lambda area: (bool(area.doubt), sign * area.aggregate.low, area.row.sort_key)
        )
    )


def area_metrics(
    metrics: Sequence[Mapping[TrialKey, Metric]], weights: Sequence[float]
) -> dict[TrialKey, Metric]:
    """Return the weighted mean over the positions for each trial that has all of them."""
    keys = set.intersection(*(set(by_trial) for by_trial in metrics))
    return {
        key: _weighted_metric([by_trial[key] for by_trial in metrics], weights)
        for key in sorted(keys, key=lambda key: (key[0] or 0, key[1]))
    }


def _weighted_metric(metrics: Sequence[Metric], weights: Sequence[float]) -> Metric:
    def weighted_sum(values: Iterable[float]) -> float:
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    images = [metric.images for metric in metrics]
    known = [each for each in images if each is not None]
    shares = None
    if len(known) == len(images) and len({len(each.low) for each in known}) == 1:
        low = sum(weight * each.low for weight, each in zip(weights, known, strict=True))
        high = low
        if not all(each.is_known for each in known):
            high = sum(weight * each.high for weight, each in zip(weights, known, strict=True))
        shares = ImageShares(low, high)  # type: ignore[arg-type]  # a sum of arrays is one
    return Metric(
        weighted_sum(metric.low for metric in metrics),
        weighted_sum(metric.high for metric in metrics),
        probe=combine_probes(metric.probe for metric in metrics),
        is_plugin_share=all(metric.is_share for metric in metrics),
        images=shares,
    )


def _difference(
    row: LeaderboardRow,
    other: LeaderboardRow | None,
    trials: Mapping[LeaderboardRow, Mapping[TrialKey, Metric]],
) -> Aggregate | None:
    """Return the paired difference to the baseline's area, None where other images were attacked."""
    if other is None or other is row:
        return None
    images = [
        None if probe is None else probe.images
        for probe in (
            combine_probes(metric.probe for metric in trials[each].values())
            for each in (row, other)
        )
    ]
    if images[0] != images[1]:
        return None
    # Areas are not tested.
    difference = untested_difference(
        trials[row],
        trials[other],
        has_trainings=row.source is not None and other.source is not None,
    )
    return None if difference is None else difference.aggregate


def _doubt_text(series: Series, data: RunData, further: str | None) -> str:
    """Return why a row is not ranked at some x, empty where it is everywhere on the test part of a metric."""
    trials = [trial for row in series.rows for trial in row.trials]
    verdicts = {
        result.verdict.value
        for trial in trials
        for evaluation in data.labels_on(trial, further)
        for result in data.trial_results(trial, evaluation)
        if result is not None and not result.verdict.is_ranked
    }
    if verdicts:
        return " and ".join(sorted(verdicts))
    return "did not learn" if any(data.unlearned_reason(trial) for trial in trials) else ""


def area_section(data: RunData) -> str:
    """Return the section on areas under curves, empty where no row has a curve."""
    parts: list[str] = []
    for table in area_tables(data):
        first, last = (f"{x:g}" for x in (table.positions[0], table.positions[-1]))
        axis = "n" if table.axis == "log n" else "epoch"
        heading = (
            f"### {escape_markdown(table.title)}: {inline_code(table.metric)} "
            f"from {axis} = {first} to {last}"
        )
        parts.append(join_parts([heading, _area_rows(table, data), _area_note(table)]))
    return join_parts(["## Area under the curve", *parts]) if parts else ""


def _area_rows(table: AreaTable, data: RunData) -> str:
    baseline = data.plan.leaderboard.get("baseline")
    has_difference = any(area.difference for area in table.areas)
    has_adapter = any(area.row.adapter for area in table.areas)
    fine = not all(0 <= area.aggregate.low <= 1 for area in table.areas)
    rows: list[list[str]] = []
    for area in table.areas:
        names = [area.row.source or ABSENT, area.row.transfer]
        if has_adapter:
            names.insert(1, area.row.adapter or ABSENT)
        cells = [*map(escape_markdown, names), _area_text(area, fine=fine)]
        if has_difference:
            cells.append(_difference_text(area, fine=fine))
        rows.append(cells)
    header = ["source", "transfer", "area"]
    if has_adapter:
        header.insert(1, "adapter")
    right = [False] * (len(header) - 1) + [True]
    if has_difference:
        header.append(f"Δ to {escape_markdown(baseline_label(baseline))}")
        right.append(True)
    return markdown_table(header, rows, right=right)


def _area_text(area: CurveArea, *, fine: bool) -> str:
    aggregate = area.aggregate
    value = format_number((aggregate.low + aggregate.high) / 2, fine=fine)
    count = ""
    if aggregate.trial_count < area.planned_count:
        count = f" ({aggregate.trial_count}/{area.planned_count})"
    doubt = f" {area.doubt}" if area.doubt else ""
    return f"{value}{format_interval(aggregate.interval, fine=fine)}{count}{doubt}"


def _difference_text(area: CurveArea, *, fine: bool) -> str:
    if area.is_baseline:
        return "baseline"
    if area.difference is None:
        return ABSENT
    difference = area.difference
    value = format_number((difference.low + difference.high) / 2, sign=True, fine=fine)
    return f"{value}{format_interval(difference.interval, sign=True, fine=fine)}"


def _area_note(table: AreaTable) -> str:
    aggregates = [area.aggregate for area in table.areas]
    units = format_range([aggregate.unit_count for aggregate in aggregates])
    images = [aggregate.image_count for aggregate in aggregates if aggregate.image_count]
    noun = (
        "source trainings"
        if any(each.basis == "sources" for each in aggregates)
        else "subset seeds"
    )
    over = f"{units} {noun}"
    if images:
        over += f" and {format_range(images)} test images"
    length = "the logarithm of n" if table.axis == "log n" else "the epochs"
    return (
        f"Area: the mean over {length} by the trapezoid rule ({count_noun(len(table.positions), 'point')}); only "
        f"rows with a number at every point. 95 % intervals over {over}."
    )
