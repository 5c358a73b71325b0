"""Panels of curves drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal

from advtransfer.leaderboard.plot_parts import (
    BAND_OPACITY,
    add_legend,
    count_legend_rows,
    draw_missing_note,
    label_line,
    legend_line,
    multiline_text,
)
from advtransfer.toolkit.plot_style import COLORS, GRID, INK_COLOR, label_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CURVE_SPACING = 1.035  # factor in x between curves at one n, so that no interval hides another
MAX_CURVE_SPREAD = 1.25  # factor in x between the first and the last curve at one n
LINEAR_SPACING = 0.01  # the same on a linear axis, as shares of a curve's length
MAX_LINEAR_SPREAD = 0.06
MAX_BARS = 12  # points of a curve with a bar and a marker each; above, it has a band


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One mean with its interval; `is_hollow` marks an interval over test images."""

    x: float
    y: float
    interval: tuple[float, float]
    is_hollow: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one label, sorted by x."""

    label: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class CurvePanel:
    """One set of axes.

    Attributes:
        title: Title.
        curves: The curves.
        ticks: Position and text of each tick on the x axis; without any, matplotlib chooses them.
        scale: Scale of the x axis.
        y: Label of the y axis where the rows of a figure show several numbers; empty where all show one.
        is_difference: Whether the curves are differences: they have bands, and a line at 0.
    """

    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]
    scale: Literal["log", "linear"] = "log"
    y: str = ""
    is_difference: bool = False


def curves_figure(panels: Sequence[Sequence[CurvePanel]], *, x: str, y: str) -> Figure:
    """Return a figure of panels in a grid over one legend.

    Args:
        panels: Panels by row; rows may be shorter than the first.
        x: Label of the x axis.
        y: Label of the y axis; panels may have their own.
    """
    from matplotlib.figure import Figure

    labels = sorted({curve.label for curve in _all_curves(panels)})
    row_count = len(panels)
    column_count = len(panels[0])
    width = max(4.8, 3.4 * column_count)
    height = 2.7 * row_count + 0.3 * count_legend_rows(labels) + 0.2
    figure = Figure(figsize=(width, height), layout="constrained")
    has_own_labels = any(panel.y for row in panels for panel in row)
    sharey: Literal["row", "all"] = "row" if has_own_labels else "all"
    grid = figure.subplots(row_count, column_count, squeeze=False, sharey=sharey)
    handles: dict[str, Artist] = {}
    for axes_row, panel_row in zip(grid, panels, strict=True):
        for axes in axes_row[len(panel_row) :]:
            axes.set_axis_off()
        for axes, panel in zip(axes_row, panel_row, strict=False):
            handles |= _draw_curve_panel(axes, panel, labels=labels)
    for column in range(column_count):
        lowest = max(row for row, panel_row in enumerate(panels) if len(panel_row) > column)
        grid[lowest][column].set_xlabel(label_text(x))
    if has_own_labels:
        for axes_row, panel_row in zip(grid, panels, strict=True):
            axes_row[0].set_ylabel(multiline_text(panel_row[0].y))
            if any(panel.curves for panel in panel_row):
                axes_row[0].set_ylim(*_y_limits([panel_row]))
    else:
        figure.supylabel(multiline_text(y), fontsize="medium")
        grid[0][0].set_ylim(*_y_limits(panels))
    add_legend(figure, handles, labels=labels)
    return figure


def _all_curves(panels: Sequence[Sequence[CurvePanel]]) -> list[Curve]:
    return [curve for row in panels for panel in row for curve in panel.curves]


def _draw_curve_panel(axes: Axes, panel: CurvePanel, *, labels: Sequence[str]) -> dict[str, Artist]:
    """Draw one panel, and return the legend entry of each label."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(label_text(panel.title))
    axes.set_xscale(panel.scale)
    positions = [position for position, _ in panel.ticks]
    if positions:
        axes.set_xticks(positions, [text for _, text in panel.ticks])
    elif all(point.x == round(point.x) for curve in panel.curves for point in curve.points):
        # Half an epoch has no point.
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.minorticks_off()
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    if positions and panel.scale == "log":
        axes.set_xlim(min(positions) / 1.4, max(positions) * 1.4)
    if not panel.curves:
        draw_missing_note(axes)
    if panel.is_difference:
        axes.axhline(0, color=INK_COLOR, linewidth=0.8)
    return {
        curve.label: _draw_curve(axes, curve, panel=panel, labels=labels) for curve in panel.curves
    }


def _draw_curve(axes: Axes, curve: Curve, *, panel: CurvePanel, labels: Sequence[str]) -> Artist:
    """Draw a curve, and return its legend entry; its place among the labels gives color, marker and dash."""
    index = labels.index(curve.label)
    color = COLORS[index % len(COLORS)]
    xs = [point.x for point in curve.points]
    lows = [point.interval[0] for point in curve.points]
    highs = [point.interval[1] for point in curve.points]
    line = label_line(index)
    if panel.is_difference or len(xs) > MAX_BARS:
        axes.fill_between(xs, lows, highs, color=color, alpha=BAND_OPACITY, linewidth=0)
        axes.plot(
            xs, [point.y for point in curve.points], **line, markevery=ceil(len(xs) / MAX_BARS)
        )
        return legend_line(line)
    xs = _spread_positions(xs, index, of=len(labels), scale=panel.scale)
    axes.plot(xs, [point.y for point in curve.points], **{**line, "marker": "none"})
    axes.vlines(xs, lows, highs, color=color, linewidth=1.2)
    for is_hollow in (False, True):
        markers = [
            (x, point.y)
            for x, point in zip(xs, curve.points, strict=True)
            if point.is_hollow is is_hollow
        ]
        axes.plot(
            [x for x, _ in markers],
            [y for _, y in markers],
            **{**line, "linestyle": "none"},
            markerfacecolor="none" if is_hollow else color,
        )
    # Line and markers are separate artists, so the legend gets a line that has both.
    return legend_line(line)


def _spread_positions(xs: Sequence[float], index: int, *, of: int, scale: str) -> list[float]:
    """Return the positions of the curve at a place, moved so that no interval hides another."""
    steps = index - (of - 1) / 2
    if scale == "log":
        # By equal factors, since the axis is logarithmic.
        spacing = min(CURVE_SPACING, MAX_CURVE_SPREAD ** (1 / max(1, of - 1)))
        return [x * spacing**steps for x in xs]
    spread = (max(xs) - min(xs)) * min(LINEAR_SPACING, MAX_LINEAR_SPREAD / max(1, of - 1))
    return [x + spread * steps for x in xs]


def _y_limits(panels: Sequence[Sequence[CurvePanel]]) -> tuple[float, float]:
    """Return the limits of the y axis: the range of all intervals, with a margin."""
    lows: list[float] = []
    highs: list[float] = []
    for curve in _all_curves(panels):
        lows += [point.interval[0] for point in curve.points]
        highs += [point.interval[1] for point in curve.points]
    low = min(lows)
    high = max(highs)
    margin = 0.05 * (high - low) or 0.05  # matplotlib warns about equal limits
    return low - margin, high + margin
