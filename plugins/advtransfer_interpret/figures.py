"""Figures as files.

Equal numbers give equal bytes, whatever the user's matplotlib settings are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Any: matplotlib types the keys as literals, and only from 3.11 on
MATPLOTLIB_SETTINGS: dict[Any, object] = {
    # Without a fixed salt, ids inside an SVG file are random.
    "svg.hashsalt": "advtransfer",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
# matplotlib writes its version and the date into files: None leaves them out.
FILE_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
}
DOTS_PER_INCH = 120


def save_figure(path: Path, build: Callable[[], Figure]) -> Path:
    """Write the figure that `build` returns as PNG or SVG, by the suffix of the path."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(MATPLOTLIB_SETTINGS)
        build().savefig(path, metadata=FILE_METADATA[path.suffix], dpi=DOTS_PER_INCH)
    return path


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; the size is in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def image_grid(rows: list[list[Tensor]], *, names: list[str], titles: list[str]) -> Figure:
    """Return a figure of images ``(C, H, W)`` in [0, 1], with row names and column titles."""
    column_count = len(rows[0])
    figure = new_figure(0.6 + 1.0 * column_count, 0.25 + 1.0 * len(rows))
    grid = figure.subplots(len(rows), column_count, squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes, image in zip(axes_row, row, strict=True):
            draw_image(axes, image)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name)
    return figure


def draw_image(axes: Axes, image: Tensor) -> None:
    """Draw an image ``(C, H, W)`` in [0, 1]; unless it has three channels, their mean in grey."""
    is_colour = image.shape[0] == 3
    pixels = image if is_colour else image.mean(0, keepdim=True).expand(3, -1, -1)
    axes.imshow(pixels.permute(1, 2, 0).clamp(0, 1).double().cpu().numpy(), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
