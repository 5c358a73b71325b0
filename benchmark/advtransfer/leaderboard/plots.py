"""Panels of curves and of points drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from advtransfer.leaderboard.plot_style import (
    COLORS,
    DASHES,
    GRID,
    INK_COLOR,
    MARKERS,
    label_text,
    render_figure,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LEGEND_COLUMNS = 5
CURVE_SPACING = 1.035  # factor in x between curves at one n, so that no interval hides another
MAX_CURVE_SPREAD = 1.25  # factor in x between the first and the last curve at one n
LINEAR_SPACING = 0.01  # the same on a linear axis, as shares of a curve's length
MAX_LINEAR_SPREAD = 0.06
MAX_BARS = 12  # points of a curve with a bar and a marker each; above, it has a band
BAND_OPACITY = 0.15


def count_legend_rows(labels: Sequence[str]) -> int:
    """Return the number of rows in a legend of these labels."""
    return ceil(len(labels) / LEGEND_COLUMNS)


def add_legend(figure: Figure, handles: Mapping[str, Artist], *, labels: Sequence[str]) -> None:
    """Add one legend under the panels, with the labels that are drawn."""
    shown = [label for label in labels if label in handles]
    figure.legend(
        [handles[label] for label in shown],
        [label_text(label) for label in shown],
        loc="outside lower center",
        ncols=ceil(len(shown) / count_legend_rows(labels)),
        frameon=False,
    )


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
    """

    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]
    scale: Literal["log", "linear"] = "log"


@dataclass(frozen=True, slots=True)
class FigureText:
    """Texts of a figure: name and description for screen readers, and the labels of its axes."""

    title: str
    x: str
    y: str
    description: str = ""


def draw_curves(
    panels: Sequence[Sequence[CurvePanel]], text: FigureText, *, format: str = "svg"
) -> bytes:
    """Return a figure of panels in a grid over one legend, as the bytes of a file.

    Args:
        panels: Panels by row; all rows have the same length.
        text: Texts of the figure.
        format: File format of matplotlib.
    """
    return render_figure(
        lambda: _curves_figure(panels, text),
        title=text.title,
        description=text.description,
        format=format,
    )


def _curves_figure(panels: Sequence[Sequence[CurvePanel]], text: FigureText) -> Figure:
    from matplotlib.figure import Figure

    labels = sorted({curve.label for curve in _all_curves(panels)})
    row_count = len(panels)
    column_count = len(panels[0])
    width = max(4.8, 3.4 * column_count)
    height = 2.7 * row_count + 0.3 * count_legend_rows(labels) + 0.2
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(row_count, column_count, squeeze=False, sharey=True)
    handles: dict[str, Artist] = {}
    for axes_row, panel_row in zip(grid, panels, strict=True):
        for axes, panel in zip(axes_row, panel_row, strict=True):
            handles |= _draw_curve_panel(axes, panel, labels=labels)
    for axes in grid[-1]:
        axes.set_xlabel(label_text(text.x))
    figure.supylabel("\n".join(map(label_text, text.y.splitlines())), fontsize="medium")
    grid[0][0].set_ylim(*_y_limits(panels))
    add_legend(figure, handles, labels=labels)
    return figure


def _all_curves(panels: Sequence[Sequence[CurvePanel]]) -> list[Curve]:
    return [curve for row in panels for panel in row for curve in panel.curves]


def _draw_curve_panel(axes: Axes, panel: CurvePanel, *, labels: Sequence[str]) -> dict[str, Artist]:
    """Draw one panel, and return the legend entry of each label."""
    axes.set_title(label_text(panel.title))
    axes.set_xscale(panel.scale)
    positions = [position for position, _ in panel.ticks]
    if positions:
        axes.set_xticks(positions, [text for _, text in panel.ticks])
    axes.minorticks_off()
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    if positions and panel.scale == "log":
        axes.set_xlim(min(positions) / 1.4, max(positions) * 1.4)
    if not panel.curves:
        _draw_missing_note(axes)
    return {
        curve.label: _draw_curve(axes, curve, scale=panel.scale, labels=labels)
        for curve in panel.curves
    }


def _draw_missing_note(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no result", transform=axes.transAxes, ha="center", va="center")


def _draw_curve(axes: Axes, curve: Curve, *, scale: str, labels: Sequence[str]) -> Artist:
    """Draw a curve, and return its legend entry; its place among the labels gives color, marker and dash."""
    index = labels.index(curve.label)
    color = COLORS[index % len(COLORS)]
    xs = [point.x for point in curve.points]
    lows = [point.interval[0] for point in curve.points]
    highs = [point.interval[1] for point in curve.points]
    line = _label_line(index)
    if len(xs) > MAX_BARS:
        axes.fill_between(xs, lows, highs, color=color, alpha=BAND_OPACITY, linewidth=0)
        axes.plot(
            xs, [point.y for point in curve.points], **line, markevery=ceil(len(xs) / MAX_BARS)
        )
        return _legend_line(line)
    xs = _spread_positions(xs, index, of=len(labels), scale=scale)
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
    return _legend_line(line)


def _spread_positions(xs: Sequence[float], index: int, *, of: int, scale: str) -> list[float]:
    """Return the positions of the curve at a place, moved so that no interval hides another."""
    steps = index - (of - 1) / 2
    if scale == "log":
        # By equal factors, since the axis is logarithmic.
        spacing = min(CURVE_SPACING, MAX_CURVE_SPREAD ** (1 / max(1, of - 1)))
        return [x * spacing**steps for x in xs]
    spread = (max(xs) - min(xs)) * min(LINEAR_SPACING, MAX_LINEAR_SPREAD / max(1, of - 1))
    return [x + spread * steps for x in xs]


def _label_line(index: int) -> dict[str, Any]:  # Any: options of matplotlib
    """Return color, marker and dash of the label at a place. Any: matplotlib types each keyword for itself."""
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
        "linewidth": 1.4,
        "markersize": 5,
    }


def _legend_line(line: Mapping[str, Any]) -> Artist:  # Any: options of matplotlib
    from matplotlib.lines import Line2D

    return Line2D([], [], **line)


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


@dataclass(frozen=True, slots=True)
class ScatterPoint:
    """The positions of one label (one per reference model).

    Attributes:
        label: Label.
        positions: Each x and y.
        intervals: Those of x and of y at a single position, drawn as a cross.
        is_hollow: Whether its marker is hollow.
    """

    label: str
    positions: tuple[tuple[float, float], ...]
    intervals: tuple[tuple[float, float] | None, tuple[float, float] | None] = (None, None)
    is_hollow: bool = False


@dataclass(frozen=True, slots=True)
class LineBand:
    """A line ``(P,)`` over x, with a band around it."""

    xs: Sequence[float]
    ys: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


@dataclass(frozen=True, slots=True)
class ScatterPanel:
    """One set of axes.

    Attributes:
        title: Title.
        x: Label of the x axis.
        points: The points of each label.
        line: A line through them, None without one.
        front: Corners ``(x, y)`` of a Pareto front, by x.
        start: Where the area under the front begins.
        omitted: Number of points that are not drawn.
    """

    title: str
    x: str
    points: tuple[ScatterPoint, ...]
    line: LineBand | None = None
    front: tuple[tuple[float, float], ...] = ()
    start: tuple[float, float] = (0.0, 0.0)
    omitted: int = 0


def draw_scatter(
    panels: Sequence[Sequence[ScatterPanel]], text: FigureText, *, format: str = "svg"
) -> bytes:
    """Return a figure of panels in a grid over one legend, as the bytes of a file.

    Args:
        panels: Panels by row; rows may have different lengths.
        text: Texts of the figure; its `x` is that of each panel.
        format: File format of matplotlib.
    """
    return render_figure(
        lambda: _scatter_figure(panels, y=text.y),
        title=text.title,
        description=text.description,
        format=format,
    )


def _scatter_figure(panels: Sequence[Sequence[ScatterPanel]], *, y: str) -> Figure:
    from matplotlib.figure import Figure

    every_panel = [panel for row in panels for panel in row]
    labels = sorted({point.label for panel in every_panel for point in panel.points})
    row_count = len(panels)
    column_count = max(map(len, panels))
    width = max(4.8, 3.2 * column_count)
    height = 2.8 * row_count + 0.3 * count_legend_rows(labels) + 0.2
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(row_count, column_count, squeeze=False, sharey="row")
    handles: dict[str, Artist] = {}
    for axes_row, panel_row in zip(grid, panels, strict=True):
        for axes in axes_row[len(panel_row) :]:
            axes.set_axis_off()
        for axes, panel in zip(axes_row, panel_row, strict=False):
            handles |= _draw_scatter_panel(axes, panel, labels=labels)
    figure.supylabel("\n".join(map(label_text, y.splitlines())), fontsize="medium")
    add_legend(figure, handles, labels=labels)
    return figure


def _draw_scatter_panel(
    axes: Axes, panel: ScatterPanel, *, labels: Sequence[str]
) -> dict[str, Artist]:
    """Draw one panel, and return the legend entry of each label."""
    axes.set_title(label_text(panel.title))
    axes.set_xlabel(label_text(panel.x))
    axes.grid(**GRID)
    axes.set_axisbelow(True)
    axes.margins(0.08)
    if panel.line is not None:
        _draw_line(axes, panel.line)
    if panel.front:
        _draw_front(axes, panel.front, panel.start)
    if not panel.points:
        _draw_missing_note(axes)
    return {
        point.label: _draw_point(axes, point, index=labels.index(point.label))
        for point in panel.points
    }


def _draw_line(axes: Axes, line: LineBand) -> None:
    axes.fill_between(
        line.xs, line.lows, line.highs, color=INK_COLOR, alpha=BAND_OPACITY, linewidth=0
    )
    axes.plot(line.xs, line.ys, color=INK_COLOR, linewidth=1.2)


def _draw_front(
    axes: Axes, front: Sequence[tuple[float, float]], start: tuple[float, float]
) -> None:
    """Draw the edge of the area that the front dominates, from its start."""
    xs = [start[0], *(x for x, _ in front), front[-1][0]]
    ys = [front[0][1], *(y for _, y in front), start[1]]
    axes.plot(xs, ys, color=INK_COLOR, linewidth=1.2, linestyle=(0, (4, 2)), drawstyle="steps-pre")


def _draw_point(axes: Axes, point: ScatterPoint, *, index: int) -> Artist:
    """Draw the positions of the label at this place, and return its legend entry."""
    line = {**_label_line(index), "linestyle": "none", "markersize": 6}
    xs, ys = zip(*point.positions, strict=True)
    x_interval, y_interval = point.intervals
    if x_interval:
        axes.hlines(ys, *x_interval, color=line["color"], linewidth=1.0)
    if y_interval:
        axes.vlines(xs, *y_interval, color=line["color"], linewidth=1.0)
    fill = "none" if point.is_hollow else line["color"]
    axes.plot(xs, ys, **line, markerfacecolor=fill)
    return _legend_line(line)
