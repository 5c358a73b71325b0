"""Parts that the figures of a page share: texts, legends, and the line of a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from advtransfer.toolkit.plot_style import COLORS, DASHES, MARKERS, label_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_COLUMNS = 5
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


def multiline_text(text: str) -> str:
    """Return a label of several lines, each as matplotlib shows it unchanged."""
    return "\n".join(map(label_text, text.splitlines()))


def draw_missing_note(axes: Axes) -> None:
    """Write into a panel that it has no result."""
    axes.text(0.5, 0.5, "no result", transform=axes.transAxes, ha="center", va="center")


def label_line(index: int) -> dict[str, Any]:  # Any: options of matplotlib
    """Return color, marker and dash of the label at a place. Any: matplotlib types each keyword for itself."""
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
        "linewidth": 1.4,
        "markersize": 5,
    }


def legend_line(line: Mapping[str, Any]) -> Artist:  # Any: options of matplotlib
    """Return the legend entry of a line; line and markers may be separate artists."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **line)
