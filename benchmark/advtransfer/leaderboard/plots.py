"""Panels of curves and of points drawn by matplotlib.

The same figure gives the same bytes, whatever the user's matplotlib settings.

The colors are those of Okabe and Ito (2008), which can be distinguished with every kind of color vision.
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
LEGEND_COLUMNS = 5
MATPLOTLIB_SETTINGS: dict[
    Any, object
] = {  # Any: matplotlib types the keys as literals, and only from 3.11 on
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
    """What `build` draws, as the bytes of a file (SVG, or another format of matplotlib)."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(MATPLOTLIB_SETTINGS)
        figure = build()
        file = io.BytesIO()
        metadata = (
            {"Date": None, "Creator": None, "Title": printable_text(title)}
            if format == "svg"
            else None
        )
        figure.savefig(file, format=format, metadata=metadata, dpi=100)
        return file.getvalue()


def count_legend_rows(labels: Sequence[str]) -> int:
    """How many lines the legend of so many labels takes."""
    return ceil(len(labels) / LEGEND_COLUMNS)


def add_legend(figure: Figure, handles: Mapping[str, Artist], *, labels: Sequence[str]) -> None:
    """One legend under the panels, of the labels that are drawn."""
    shown = [label for label in labels if label in handles]
    figure.legend(
        [handles[label] for label in shown],
        [label_text(label) for label in shown],
        loc="outside lower center",
        ncols=ceil(len(shown) / count_legend_rows(labels)),
        frameon=False,
    )


def label_text(text: str) -> str:
    """A label as it is: a leading underscore would leave it out of the legend."""
    text = printable_text(text)
    return f" {text}" if text.startswith("_") else text


DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
CURVE_SPACING, MAX_CURVE_SPREAD = (
    1.035,
    1.25,
)  # curves at one n stand this factor apart (all within the second), to hide no interval


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One mean with its interval; `hollow` marks an interval over test images."""

    x: float
    y: float
    interval: tuple[float, float]
    is_hollow: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one label, by x."""

    label: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class CurvePanel:
    """One set of axes: its curves, and the place and text of each tick on its logarithmic x axis."""

    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]


def draw_curves(
    panels: Sequence[Sequence[CurvePanel]], *, x: str, y: str, title: str, format: str = "svg"
) -> bytes:
    """The panels in a grid over one legend, as the bytes of a file (SVG, or another format of matplotlib)."""
    return render_figure(lambda: _curves_figure(panels, x=x, y=y), title=title, format=format)


def _curves_figure(panels: Sequence[Sequence[CurvePanel]], *, x: str, y: str) -> Figure:
    from matplotlib.figure import Figure

    labels = sorted({curve.label for row in panels for panel in row for curve in panel.curves})
    down, across = len(panels), len(panels[0])
    size = (max(4.8, 3.4 * across), 2.7 * down + 0.3 * count_legend_rows(labels) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
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


def _draw_curve_panel(axes: Axes, panel: CurvePanel, *, labels: Sequence[str]) -> dict[str, Artist]:
    """Draw one panel; returns what the legend shows for each label."""
    axes.set_title(label_text(panel.title))
    axes.set_xscale("log")
    axes.set_xticks([place for place, _ in panel.ticks], [text for _, text in panel.ticks])
    axes.minorticks_off()
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(min(panel.ticks)[0] / 1.4, max(panel.ticks)[0] * 1.4)
    if not panel.curves:
        axes.text(
            0.5,
            0.5,
            "no result",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color="#767676",
        )
    return {
        curve.label: _draw_curve(axes, curve, index=labels.index(curve.label), of=len(labels))
        for curve in panel.curves
    }


def _draw_curve(axes: Axes, curve: Curve, *, index: int, of: int) -> Artist:
    from matplotlib.lines import Line2D

    colour, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    dashes = DASHES[index % len(DASHES)]
    apart = min(CURVE_SPACING, MAX_CURVE_SPREAD ** (1 / max(1, of - 1)))
    xs = [point.x * apart ** (index - (of - 1) / 2) for point in curve.points]
    ys = [point.y for point in curve.points]
    axes.plot(xs, ys, color=colour, linestyle=dashes, linewidth=1.4)
    lows, highs = ([point.interval[end] for point in curve.points] for end in (0, 1))
    axes.vlines(xs, lows, highs, color=colour, linewidth=1.2)
    for hollow in (False, True):
        places = [
            (x, point.y)
            for x, point in zip(xs, curve.points, strict=True)
            if point.is_hollow is hollow
        ]
        face = "white" if hollow else colour
        axes.plot(
            [x for x, _ in places],
            [y for _, y in places],
            color=colour,
            linestyle="none",
            marker=marker,
            markersize=5,
            markerfacecolor=face,
        )
    return Line2D(
        [], [], color=colour, linestyle=dashes, linewidth=1.4, marker=marker, markersize=5
    )


def _y_limits(panels: Sequence[Sequence[CurvePanel]]) -> tuple[float, float]:
    """The y axis from the lowest to the highest interval, with room at both ends."""
    points = [
        point for row in panels for panel in row for curve in panel.curves for point in curve.points
    ]
    low, high = (
        min(point.interval[0] for point in points),
        max(point.interval[1] for point in points),
    )
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room


@dataclass(frozen=True, slots=True)
class ScatterPanel:
    """One set of axes: by label, the places of its points (one a reference model)."""

    title: str
    x: str
    points: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


def draw_scatter(panels: Sequence[Sequence[ScatterPanel]], *, y: str, title: str) -> bytes:
    """The panels in a grid over one legend, as the bytes of an SVG file; a row may be shorter than others."""
    return render_figure(lambda: _scatter_figure(panels, y=y), title=title)


def _scatter_figure(panels: Sequence[Sequence[ScatterPanel]], *, y: str) -> Figure:
    from matplotlib.figure import Figure

    labels = sorted({label for row in panels for panel in row for label, _ in panel.points})
    down, across = len(panels), max(map(len, panels))
    size = (max(4.8, 3.2 * across), 2.8 * down + 0.3 * count_legend_rows(labels) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    handles: dict[str, Artist] = {}
    for axes_row, panel_row in zip(
        figure.subplots(down, across, squeeze=False, sharey="row"), panels, strict=True
    ):
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
    """Draw one panel; returns what the legend shows for each label."""
    axes.set_title(label_text(panel.title))
    axes.set_xlabel(label_text(panel.x))
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.08)
    if not panel.points:
        axes.text(
            0.5,
            0.5,
            "no result",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color="#767676",
        )
    return {
        label: _draw_points(axes, places, index=labels.index(label))
        for label, places in panel.points
    }


def _draw_points(axes: Axes, places: Sequence[tuple[float, float]], *, index: int) -> Artist:
    xs, ys = zip(*places, strict=True)
    (drawn,) = axes.plot(
        xs,
        ys,
        color=COLORS[index % len(COLORS)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=6,
        linestyle="none",
    )
    return drawn
