"""The figures that a suite requests: a metric against the number of labelled target images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.aggregates import aggregate_metrics
from advtransfer.leaderboard.markdown import inline_code
from advtransfer.leaderboard.plots import Curve, CurvePanel, CurvePoint, draw_curves
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    RowsByTable,
    find_column,
    group_rows,
)
from advtransfer.suite.leaderboard_settings import FIGURE_KINDS


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure of the page.

    Attributes:
        name: File name.
        svg: Content of the file.
        text: Alternative text.
        caption: Caption in markdown.
    """

    name: str
    svg: bytes
    text: str
    caption: str


def requested_figures(data: RunData) -> list[PageFigure]:
    """Return the figures that the suite requests, without those that have no number to show.

    Raises:
        BadInput: A figure's kind or metric is unknown.
    """
    entries = data.plan.leaderboard.get("figures")
    if not isinstance(entries, list | tuple):
        return []
    figures = [_make_figure(entry, data) for entry in entries]
    return [figure for figure in figures if figure is not None]


def parse_figure(entry: object, data: RunData) -> tuple[str, Column]:
    """Return the kind of a requested figure and the column that it shows.

    Raises:
        BadInput: Its kind or metric is unknown.
    """
    if isinstance(entry, Mapping) and entry.get("kind") in FIGURE_KINDS and entry.get("metric"):
        return str(entry["kind"]), find_column(str(entry["metric"]), data)
    found = f"leaderboard figure {entry!r}"
    expected = f"a kind of {', '.join(FIGURE_KINDS)}, and a metric as in `columns`"
    raise BadInput([Problem(found, expected, "correct it in the suite and run it again")])


def _make_figure(entry: object, data: RunData) -> PageFigure | None:
    kind, column = parse_figure(entry, data)
    panels = curve_panels(data, column)
    if not any(panel.curves for row in panels for panel in row):
        return None
    # Column names hold characters such as @ and /, which have a meaning in paths and links.
    stem = re.sub(r"[^A-Za-z0-9.]+", "_", f"{kind}_{column.name}").strip("_.")
    svg = draw_curves(
        panels,
        x="labelled target images n",
        y=_axis_label(column, data),
        title=f"{column.name} against n",
    )
    caption = (
        f"{inline_code(column.name)} against the number of labelled target images: mean and 95 % "
        "interval. Filled markers: the interval is over subset seeds (over source trainings "
        "where a source has replicates) and test images; hollow: over test images alone."
    )
    return PageFigure(
        name=f"{stem}.svg",
        svg=svg,
        text=f"{column.name} against the number of labelled target images n",
        caption=caption,
    )


def curve_panels(data: RunData, column: Column) -> list[list[CurvePanel]]:
    """Return panels of a metric against n.

    There is one row per target, one panel per transfer, and one curve per source.
    """
    tables = group_rows(data)
    targets = sorted({target for target, _ in tables})
    transfers = sorted({row.transfer for rows in tables.values() for row in rows})
    panels: list[list[CurvePanel]] = []
    for target in targets:
        panels.append(
            [_curve_panel(target, transfer, tables, column, data) for transfer in transfers]
        )
    return panels


def _axis_label(column: Column, data: RunData) -> str:
    """Return the label of the y axis with its unit."""
    for trial in data.plan.trials:
        metric = column.metric_of(trial, data)
        if metric is not None and not metric.is_share:
            return column.name
    return f"{column.name}\n(share of test images)"


def _curve_panel(
    target: str, transfer: str, tables: RowsByTable, column: Column, data: RunData
) -> CurvePanel:
    ticks = _axis_ticks(target, tables, data)
    points: dict[str, list[CurvePoint]] = {}
    for n, (x, _) in ticks.items():
        for row in tables[target, n]:
            metrics = row.metric_values(column, data)
            if row.transfer == transfer and metrics:
                aggregate = aggregate_metrics(metrics, deterministic=row.is_deterministic(data))
                # Unknown outcomes leave a range, of which the curve shows the middle.
                point = CurvePoint(
                    x,
                    y=(aggregate.low + aggregate.high) / 2,
                    interval=aggregate.interval or (aggregate.low, aggregate.high),
                    is_hollow=aggregate.basis in ("deterministic", "single"),
                )
                points.setdefault(row.label, []).append(point)
    curves = tuple(Curve(label, tuple(points[label])) for label in sorted(points))
    return CurvePanel(f"{target}, {transfer}", curves, tuple(ticks.values()))


def _axis_ticks(
    target: str, tables: RowsByTable, data: RunData
) -> dict[int | str, tuple[float, str]]:
    """Return the position and the text of each n of a target on the x axis.

    `all` is placed at the number of labels that a fit recorded, or after the other counts if none
    did.
    """
    counts = sorted(n for other, n in tables if other == target and isinstance(n, int))
    ticks: dict[int | str, tuple[float, str]] = {n: (float(n), str(n)) for n in counts}
    if (target, "all") in tables:
        labels_used = max(_labels_used(tables[target, "all"], data), default=None)
        if labels_used is None:
            ticks["all"] = (2.0 * max(counts, default=1), "all")
        else:
            ticks["all"] = (float(labels_used), f"all ({labels_used})")
    return ticks


def _labels_used(rows: Sequence[LeaderboardRow], data: RunData) -> Iterator[int]:
    for row in rows:
        for trial in row.trials:
            if trial.id in data.labels_used:
                yield data.labels_used[trial.id]
