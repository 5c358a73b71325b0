"""Panels of grouped bars drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.plot_parts import add_legend, count_legend_rows, multiline_text
from advtransfer.leaderboard.scatter import PANELS_PER_ROW
from advtransfer.toolkit.plot_style import COLORS, GRID, HATCHES, INK_COLOR, label_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUP_WIDTH = 0.8
"""Share of the distance between two groups that the bars of one take."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The number of one label in one group, with its interval."""

    label: str
    group: str
    height: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class BarPanel:
    """One set of axes; `omitted` labels are not drawn."""

    title: str
    bars: tuple[Bar, ...]
    omitted: int = 0


def bars_figure(panels: Sequence[BarPanel], *, groups: Sequence[str], y: str) -> Figure:
    """Return a figure of panels over one legend.

    Args:
        panels: The panels.
        groups: Groups of bars on the x axis of each panel.
        y: Label of the y axis.
    """
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(bar.label for panel in panels for bar in panel.bars))
    column_count = min(len(panels), PANELS_PER_ROW)
    row_count = -(-len(panels) // column_count)
    width = max(4.8, (1.2 + 0.22 * len(groups) * len(labels)) * column_count)
    height = 2.8 * row_count + 0.3 * count_legend_rows(labels) + 0.2
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(row_count, column_count, squeeze=False, sharey=True).flatten()
    handles: dict[str, Artist] = {}
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        handles |= _draw_panel(axes, panel, labels=labels, groups=groups)
    figure.supylabel(multiline_text(y), fontsize="medium")
    add_legend(figure, handles, labels=labels)
    return figure


def _draw_panel(
    axes: Axes, panel: BarPanel, *, labels: Sequence[str], groups: Sequence[str]
) -> dict[str, Artist]:
    """Draw one panel, and return the legend entry of each label."""
    axes.set_title(label_text(panel.title))
    # Evaluation and metric each have a line, so that long names stand side by side.
    names = [multiline_text(group.replace(".", ".\n", 1)) for group in groups]
    axes.set_xticks(range(len(groups)), names)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    handles: dict[str, Artist] = {}
    width = GROUP_WIDTH / len(labels)
    for bar in panel.bars:
        place = labels.index(bar.label)
        x = groups.index(bar.group) + (place - (len(labels) - 1) / 2) * width
        color = COLORS[place % len(COLORS)]
        # Hatches tell labels apart where colors do not, as markers do for curves.
        container = axes.bar(
            x,
            bar.height,
            width=0.9 * width,
            facecolor="none" if HATCHES[place % len(HATCHES)] else color,
            edgecolor=color,
            hatch=HATCHES[place % len(HATCHES)],
        )
        handles[bar.label] = container.patches[0]
        if bar.interval is not None:
            axes.vlines(x, *bar.interval, color=INK_COLOR, linewidth=1.2)
    return handles
