"""A matrix of numbers as shaded cells, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.markdown import format_number
from advtransfer.leaderboard.plot_parts import multiline_text
from advtransfer.text import ABSENT
from advtransfer.toolkit.plot_style import label_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

COLOR_MAP = "cividis"
"""Shades that rise in lightness, told apart with every kind of color vision (Nunez et al., 2018)."""
DARK_TEXT, LIGHT_TEXT = "#000000", "#FFFFFF"
LIGHT_SHADE = 0.5
"""Share of the range of numbers above which a cell is light, and its number dark."""


@dataclass(frozen=True, slots=True)
class NumberMatrix:
    """Numbers by row and column; a cell without a number is left empty."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    numbers: Mapping[tuple[str, str], float]


def matrix_figure(panels: Sequence[NumberMatrix], *, x: str, y: str, label: str) -> Figure:
    """Return a figure of matrices that share one scale of shades.

    Args:
        panels: The matrices.
        x: What the columns are.
        y: What the rows are.
        label: Label of the scale.
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    every_number = [number for panel in panels for number in panel.numbers.values()]
    scale = Normalize(min(every_number), max(every_number))
    width = sum(1.6 + 0.62 * len(panel.columns) for panel in panels) + 0.9
    height = 1.3 + 0.36 * max(len(panel.rows) for panel in panels)
    figure = Figure(figsize=(max(4.8, width), max(2.4, height)), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        _draw_matrix(axes, panel, scale)
        axes.set_xlabel(label_text(x))
    grid[0].set_ylabel(label_text(y))
    bar = figure.colorbar(grid[0].images[0], ax=list(grid))
    bar.outline.set_visible(False)
    bar.set_label(multiline_text(label))
    return figure


def _draw_matrix(axes: Axes, panel: NumberMatrix, scale: Normalize) -> None:
    import numpy as np

    values = np.full((len(panel.rows), len(panel.columns)), np.nan)
    for (row, column), number in panel.numbers.items():
        values[panel.rows.index(row), panel.columns.index(column)] = number
    axes.set_title(label_text(panel.title))
    axes.imshow(values, cmap=COLOR_MAP, norm=scale, aspect="auto", interpolation="nearest")
    axes.set_xticks(
        range(len(panel.columns)), list(map(label_text, panel.columns)), rotation=30, ha="right"
    )
    axes.set_yticks(range(len(panel.rows)), list(map(label_text, panel.rows)))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for place, number in np.ndenumerate(values):
        row, column = place
        if np.isnan(number):
            axes.text(column, row, ABSENT, ha="center", va="center")
            continue
        is_light = scale(number) > LIGHT_SHADE
        color = DARK_TEXT if is_light else LIGHT_TEXT
        axes.text(column, row, format_number(number), ha="center", va="center", color=color)
