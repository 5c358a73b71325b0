"""Panels of curves as SVG, told apart by colour, marker and dashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.canvas import COLOURS, MARKERS, legend, legend_rows, plain, saved

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
APART, SPREAD = 1.035, 1.25  # curves at one n stand this factor apart (all within the second), to hide no interval


@dataclass(frozen=True, slots=True)
class Point:
    """One mean with its interval; `hollow` marks an interval over test images."""

    x: float
    y: float
    interval: tuple[float, float]
    hollow: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one label, by x."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes: its curves, and the place and text of each tick on its logarithmic x axis."""

    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]


def draw(panels: Sequence[Sequence[Panel]], *, x: str, y: str, title: str, format: str = "svg") -> bytes:
    """The panels in a grid over one legend, as the bytes of a file (SVG, or another format of matplotlib)."""
    return saved(lambda: _figure(panels, x=x, y=y), title=title, format=format)


def _figure(panels: Sequence[Sequence[Panel]], *, x: str, y: str) -> Figure:
    from matplotlib.figure import Figure

    labels = sorted({curve.label for row in panels for panel in row for curve in panel.curves})
    down, across = len(panels), len(panels[0])
    size = (max(4.8, 3.4 * across), 2.7 * down + 0.3 * legend_rows(labels) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    handles: dict[str, Artist] = {}
    for axes_row, panel_row in zip(grid, panels, strict=True):
        for axes, panel in zip(axes_row, panel_row, strict=True):
            handles |= _panel(axes, panel, labels=labels)
    for axes in grid[-1]:
        axes.set_xlabel(x)
    figure.supylabel(plain(y), fontsize="medium")
    grid[0][0].set_ylim(*_limits(panels))
    legend(figure, handles, labels=labels)
    return figure


def _panel(axes: Axes, panel: Panel, *, labels: Sequence[str]) -> dict[str, Artist]:
    """Draw one panel; returns what the legend shows for each label."""
    axes.set_title(plain(panel.title))
    axes.set_xscale("log")
    axes.set_xticks([place for place, _ in panel.ticks], [text for _, text in panel.ticks])
    axes.minorticks_off()
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(min(panel.ticks)[0] / 1.4, max(panel.ticks)[0] * 1.4)
    if not panel.curves:
        axes.text(0.5, 0.5, "no result", transform=axes.transAxes, ha="center", va="center", color="#767676")
    return {curve.label: _curve(axes, curve, index=labels.index(curve.label), of=len(labels)) for curve in panel.curves}


def _curve(axes: Axes, curve: Curve, *, index: int, of: int) -> Artist:
    from matplotlib.lines import Line2D

    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    dashes = DASHES[index % len(DASHES)]
    apart = min(APART, SPREAD ** (1 / max(1, of - 1)))
    xs = [point.x * apart ** (index - (of - 1) / 2) for point in curve.points]
    ys = [point.y for point in curve.points]
    axes.plot(xs, ys, color=colour, linestyle=dashes, linewidth=1.4)
    lows, highs = ([point.interval[end] for point in curve.points] for end in (0, 1))
    axes.vlines(xs, lows, highs, color=colour, linewidth=1.2)
    for hollow in (False, True):
        places = [(x, point.y) for x, point in zip(xs, curve.points, strict=True) if point.hollow is hollow]
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
    return Line2D([], [], color=colour, linestyle=dashes, linewidth=1.4, marker=marker, markersize=5)


def _limits(panels: Sequence[Sequence[Panel]]) -> tuple[float, float]:
    """The y axis from the lowest to the highest interval, with room at both ends."""
    points = [point for row in panels for panel in row for curve in panel.curves for point in curve.points]
    low, high = min(point.interval[0] for point in points), max(point.interval[1] for point in points)
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room
