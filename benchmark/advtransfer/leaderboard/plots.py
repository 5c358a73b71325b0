"""Panels of curves and of points drawn by matplotlib.

The same figure gives the same bytes, whatever the user's matplotlib settings.

The colors are those of Okabe and Ito (2008), which can be distinguished with every kind of color
vision.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from advtransfer.text import printable_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GRID_COLOR = "#E5E5E5"
NOTE_COLOR = "#767676"
LEGEND_COLUMNS = 5
# A fixed salt makes the ids in an SVG the same in every process; glyphs as paths do not depend on
# installed fonts. Any: matplotlib types the keys as literals, and only from 3.11 on.
MATPLOTLIB_SETTINGS: dict[Any, object] = {
    "svg.hashsalt": "advtransfer",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.linewidth": 0.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def render_figure(build: Callable[[], Figure], *, title: str, format: str = "svg") -> bytes:
    """Return the bytes of the figure that `build` makes.

    Args:
        build: Makes the figure; called with fixed matplotlib settings.
        title: Title in the metadata of an SVG file.
        format: File format of matplotlib.
    """
    import matplotlib

    # Date and creator (with matplotlib's version) would change the bytes of an SVG.
    metadata = None
    if format == "svg":
        metadata = {"Date": None, "Creator": None, "Title": printable_text(title)}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(MATPLOTLIB_SETTINGS)
        figure = build()
        file = io.BytesIO()
        figure.savefig(file, format=format, metadata=metadata, dpi=100)
        return file.getvalue()


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


def label_text(text: str) -> str:
    """Return a label as matplotlib shows it unchanged."""
    text = printable_text(text)
    # matplotlib leaves labels with a leading underscore out of the legend.
    return f" {text}" if text.startswith("_") else text


DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
CURVE_SPACING = 1.035  # factor in x between curves at one n, so that no interval hides another
MAX_CURVE_SPREAD = 1.25  # factor in x between the first and the last curve at one n


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
    """One set of axes: its curves, and position and text of each tick on its logarithmic x axis."""

    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]


def draw_curves(
    panels: Sequence[Sequence[CurvePanel]], *, x: str, y: str, title: str, format: str = "svg"
) -> bytes:
    """Return a figure of panels in a grid over one legend, as the bytes of a file.

    Args:
        panels: Panels by row; all rows have the same length.
        x: Label of the x axes.
        y: Label of the y axes.
        title: Title in the metadata of an SVG file.
        format: File format of matplotlib.
    """
    return render_figure(lambda: _curves_figure(panels, x=x, y=y), title=title, format=format)


def _curves_figure(panels: Sequence[Sequence[CurvePanel]], *, x: str, y: str) -> Figure:
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
        axes.set_xlabel(x)
    figure.supylabel(label_text(y), fontsize="medium")
    grid[0][0].set_ylim(*_y_limits(panels))
    add_legend(figure, handles, labels=labels)
    return figure


def _all_curves(panels: Sequence[Sequence[CurvePanel]]) -> list[Curve]:
    return [curve for row in panels for panel in row for curve in panel.curves]


def _draw_curve_panel(axes: Axes, panel: CurvePanel, *, labels: Sequence[str]) -> dict[str, Artist]:
    """Draw one panel, and return the legend entry of each label."""
    positions = [position for position, _ in panel.ticks]
    axes.set_title(label_text(panel.title))
    axes.set_xscale("log")
    axes.set_xticks(positions, [text for _, text in panel.ticks])
    axes.minorticks_off()
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(min(positions) / 1.4, max(positions) * 1.4)
    if not panel.curves:
        _draw_missing_note(axes)
    return {
        curve.label: _draw_curve(axes, curve, index=labels.index(curve.label), of=len(labels))
        for curve in panel.curves
    }


def _draw_missing_note(axes: Axes) -> None:
    axes.text(
        0.5,
        0.5,
        "no result",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=NOTE_COLOR,
    )


def _draw_curve(axes: Axes, curve: Curve, *, index: int, of: int) -> Artist:
    """Draw the curve with this index `of` so many labels, and return its legend entry."""
    from matplotlib.lines import Line2D

    color = COLORS[index % len(COLORS)]
    marker = MARKERS[index % len(MARKERS)]
    dashes = DASHES[index % len(DASHES)]
    # Curves are spread around their n by equal factors, since the axis is logarithmic.
    spacing = min(CURVE_SPACING, MAX_CURVE_SPREAD ** (1 / max(1, of - 1)))
    xs = [point.x * spacing ** (index - (of - 1) / 2) for point in curve.points]
    ys = [point.y for point in curve.points]
    lows = [point.interval[0] for point in curve.points]
    highs = [point.interval[1] for point in curve.points]
    axes.plot(xs, ys, color=color, linestyle=dashes, linewidth=1.4)
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
            color=color,
            linestyle="none",
            marker=marker,
            markersize=5,
            markerfacecolor="white" if is_hollow else color,
        )
    # Line and markers are separate artists, so the legend gets a line that has both.
    return Line2D([], [], color=color, linestyle=dashes, linewidth=1.4, marker=marker, markersize=5)


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
class ScatterPanel:
    """One set of axes: the positions of each label's points (one per reference model)."""

    title: str
    x: str
    points: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


def draw_scatter(panels: Sequence[Sequence[ScatterPanel]], *, y: str, title: str) -> bytes:
    """Return a figure of panels in a grid over one legend, as the bytes of an SVG file.

    Args:
        panels: Panels by row; rows may have different lengths.
        y: Label of the y axes.
        title: Title in the metadata of the file.
    """
    return render_figure(lambda: _scatter_figure(panels, y=y), title=title)


def _scatter_figure(panels: Sequence[Sequence[ScatterPanel]], *, y: str) -> Figure:
    from matplotlib.figure import Figure

    every_panel = [panel for row in panels for panel in row]
    labels = sorted({label for panel in every_panel for label, _ in panel.points})
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
    figure.supylabel(label_text(y), fontsize="medium")
    add_legend(figure, handles, labels=labels)
    return figure


def _draw_scatter_panel(
    axes: Axes, panel: ScatterPanel, *, labels: Sequence[str]
) -> dict[str, Artist]:
    """Draw one panel, and return the legend entry of each label."""
    axes.set_title(label_text(panel.title))
    axes.set_xlabel(label_text(panel.x))
    axes.grid(color=GRID_COLOR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.08)
    if not panel.points:
        _draw_missing_note(axes)
    return {
        label: _draw_points(axes, positions, index=labels.index(label))
        for label, positions in panel.points
    }


def _draw_points(axes: Axes, positions: Sequence[tuple[float, float]], *, index: int) -> Artist:
    xs, ys = zip(*positions, strict=True)
    (line,) = axes.plot(
        xs,
        ys,
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=6,
        linestyle="none",
    )
    return line
