"""Panels of points as SVG: what predicts against what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.canvas import COLOURS, MARKERS, legend, legend_rows, plain, saved

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Scatter:
    """One set of axes: by label, the places of its points (one a reference model)."""

    title: str
    x: str
    points: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


def scatter(panels: Sequence[Sequence[Scatter]], *, y: str, title: str) -> bytes:
    """The panels in a grid over one legend, as the bytes of an SVG file; a row may be shorter than others."""
    return saved(lambda: _figure(panels, y=y), title=title)


def _figure(panels: Sequence[Sequence[Scatter]], *, y: str) -> Figure:
    from matplotlib.figure import Figure

    labels = sorted({label for row in panels for panel in row for label, _ in panel.points})
    down, across = len(panels), max(map(len, panels))
    size = (max(4.8, 3.2 * across), 2.8 * down + 0.3 * legend_rows(labels) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    handles: dict[str, Artist] = {}
    for axes_row, panel_row in zip(figure.subplots(down, across, squeeze=False, sharey="row"), panels, strict=True):
        for axes in axes_row[len(panel_row) :]:
            axes.set_axis_off()
        for axes, panel in zip(axes_row, panel_row, strict=False):
            handles |= _panel(axes, panel, labels=labels)
    figure.supylabel(plain(y), fontsize="medium")
    legend(figure, handles, labels=labels)
    return figure


def _panel(axes: Axes, panel: Scatter, *, labels: Sequence[str]) -> dict[str, Artist]:
    """Draw one panel; returns what the legend shows for each label."""
    axes.set_title(plain(panel.title))
    axes.set_xlabel(plain(panel.x))
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.08)
    if not panel.points:
        axes.text(0.5, 0.5, "no result", transform=axes.transAxes, ha="center", va="center", color="#767676")
    return {label: _points(axes, places, index=labels.index(label)) for label, places in panel.points}


def _points(axes: Axes, places: Sequence[tuple[float, float]], *, index: int) -> Artist:
    xs, ys = zip(*places, strict=True)
    (drawn,) = axes.plot(
        xs,
        ys,
        color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=6,
        linestyle="none",
    )
    return drawn
