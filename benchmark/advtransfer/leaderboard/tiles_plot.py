"""Pictures of several models below each other, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.toolkit.plot_style import label_text

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WIDTH = 7.5
"""Width of a figure in inches."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture ``(H, W, 3)`` in [0, 1] or of bytes, and its label."""

    label: str
    pixels: NDArray[np.generic]


def tiles_figure(tiles: Sequence[Tile]) -> Figure:
    """Return a figure with one picture in each row, under its label, all of one width."""
    from matplotlib.figure import Figure

    heights = [WIDTH * tile.pixels.shape[0] / tile.pixels.shape[1] for tile in tiles]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3 * len(tiles)), layout="constrained")
    grid = figure.subplots(len(tiles), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, tile in zip(grid, tiles, strict=True):
        axes.imshow(tile.pixels, aspect="equal", interpolation="nearest")
        axes.set_title(label_text(tile.label), loc="left")
        axes.set_axis_off()
    return figure
