"""Panels of points, with a line or a front, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.plot_parts import (
    BAND_OPACITY,
    add_legend,
    count_legend_rows,
    draw_missing_note,
    label_line,
    legend_line,
    multiline_text,
)
from advtransfer.toolkit.plot_style import GRID, INK_COLOR, label_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


def scatter_figure(panels: Sequence[Sequence[ScatterPanel]], *, y: str) -> Figure:
    """Return a figure of panels in a grid over one legend.

    Args:
        panels: Panels by row; rows may have different lengths.
        y: Label of the y axis.
    """
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
    figure.supylabel(multiline_text(y), fontsize="medium")
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
        draw_missing_note(axes)
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
    line = {**label_line(index), "linestyle": "none", "markersize": 6}
    xs, ys = zip(*point.positions, strict=True)
    x_interval, y_interval = point.intervals
    if x_interval:
        axes.hlines(ys, *x_interval, color=line["color"], linewidth=1.0)
    if y_interval:
        axes.vlines(xs, *y_interval, color=line["color"], linewidth=1.0)
    fill = "none" if point.is_hollow else line["color"]
    axes.plot(xs, ys, **line, markerfacecolor=fill)
    return legend_line(line)
