"""Figures as files.

Equal numbers give equal bytes, independent of the user's matplotlib settings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATPLOTLIB_SETTINGS: dict[
    Any, object
] = {  # Any: matplotlib types the keys as literals, and only from 3.11 on
    "svg.hashsalt": "advtransfer",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
FILE_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
}
DOTS_PER_INCH = 120  # an inch


def save_figure(path: Path, build: Callable[[], Figure]) -> Path:
    """Write what `build` draws as PNG or SVG, by the path's ending."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(MATPLOTLIB_SETTINGS)
        build().savefig(path, metadata=FILE_METADATA[path.suffix], dpi=DOTS_PER_INCH)
    return path


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def image_grid(rows: list[list[Tensor]], *, names: list[str], titles: list[str]) -> Figure:
    """Images ``(C, H, W)`` in [0, 1] as a grid: `names` beside the rows, `titles` above the columns."""
    drawn = new_figure(0.6 + 1.0 * len(rows[0]), 0.25 + 1.0 * len(rows))
    places = drawn.subplots(len(rows), len(rows[0]), squeeze=False)
    for axes_row, row in zip(places, rows, strict=True):
        for axes, image in zip(axes_row, row, strict=True):
            draw_image(axes, image)
    for axes, title in zip(places[0], titles, strict=True):
        axes.set_title(title)
    for axes, name in zip(places[:, 0], names, strict=True):
        axes.set_ylabel(name)
    return drawn


def draw_image(axes: Axes, image: Tensor) -> None:
    """One image ``(C, H, W)`` in [0, 1]; of other than three channels, their mean in grey."""
    colours = image if image.shape[0] == 3 else image.mean(0, keepdim=True).expand(3, -1, -1)
    axes.imshow(
        colours.permute(1, 2, 0).clamp(0, 1).double().cpu().numpy(), interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
