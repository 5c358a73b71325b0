"""Figures of influences: the matrix of scores, the class match by rank, and the most influential images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advtransfer.types import DataCard, Samples
from advtransfer_interpret import figures
from advtransfer_interpret.samples import class_name, round_robin_by_class, to_unit_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADED_SHARE = 0.98
"""Fraction of the scores within the range of the figure's shades; the others are clipped."""
MAX_NAMED_CLASSES = 20
"""Largest number of classes whose names fit along a side of the figure."""


@dataclass(frozen=True, slots=True)
class MatrixSide:
    """The images along one side of the matrix.

    Args:
        images: Description of the images.
        labels: Their classes, ``(N,)``.
        card: The data card, which names the classes.
    """

    images: str
    labels: Tensor
    card: DataCard

    @property
    def sorted_positions(self) -> Tensor:
        """The positions of the images, sorted by class."""
        return self.labels.argsort(stable=True)

    def draw_classes(self, axes: Axes, which: str) -> None:
        """Draw lines between the classes, and their names, along the axis ``x`` or ``y``."""
        draw_line = axes.axvline if which == "x" else axes.axhline
        axis = axes.xaxis if which == "x" else axes.yaxis
        counts = self.labels.cpu().bincount()
        ends = counts.cumsum(0) - 0.5
        classes = counts.nonzero().flatten()
        # The last class ends at the frame.
        for end in ends[classes].tolist()[:-1]:
            draw_line(end, color="black", linewidth=0.3)
        named = classes if len(classes) <= MAX_NAMED_CLASSES else classes[:0]
        names = [class_name(self.card, label) for label in named.tolist()]
        axis.set_ticks((ends - counts / 2)[named].tolist(), names)
        axis.set_label_text(f"{self.images}, by class")


def draw_matrix(path: Path, scores: Tensor, train: MatrixSide, targets: MatrixSide) -> Path:
    """Draw the scores over their Frobenius norm, by class (Utrera et al., 2021, Figure 7)."""
    norm = scores.norm().clamp_min(torch.finfo(scores.dtype).tiny)
    shades = (scores / norm)[targets.sorted_positions][:, train.sorted_positions].cpu()
    sizes = shades.abs().flatten()
    # A few scores are far larger than all others, and would leave them without contrast.
    limit = float(sizes.kthvalue(max(1, round(SHADED_SHARE * sizes.numel()))).values) or 1.0
    longest_name = max(map(len, train.card.names), default=0)

    def build() -> Figure:
        figure = figures.new_figure(5.0, 4.2)
        axes = figure.subplots()
        image = axes.imshow(shades.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        train.draw_classes(axes, "x")
        targets.draw_classes(axes, "y")
        axes.tick_params(axis="x", rotation=45 if longest_name > 3 else 0)
        figure.colorbar(image, ax=axes, label="influence over its norm (positive: lowers the loss)")
        return figure

    return figures.save_figure(path, build)


def draw_match_curve(path: Path, matches_by_rank: list[float], chance: float) -> Path:
    """Draw the class match against the rank (Utrera et al., 2021, Figure 8)."""

    def build() -> Figure:
        figure = figures.new_figure(4.0, 3.0)
        axes = figure.subplots()
        ranks = range(1, len(matches_by_rank) + 1)
        axes.plot(ranks, matches_by_rank, color="#0072B2", marker=".", markersize=3, linewidth=1)
        axes.axhline(chance, color="#767676", linestyle=(0, (5, 1.5)), linewidth=0.8)
        axes.set_ylim(0, 1)
        axes.set_xlabel("rank of the training image")
        axes.set_ylabel("share of its class (dashed: chance)")
        return figure

    return figures.save_figure(path, build)


def draw_most_influential(
    path: Path,
    targets: Samples,
    train: Samples,
    *,
    positions: Sequence[int],
    ranked: Tensor,
) -> Path:
    """Draw each target image above its most influential training images (Utrera et al., 2021, Figure 6).

    Args:
        path: Where the figure is written.
        targets: The target images.
        train: The training images.
        positions: Positions of the targets that are drawn, one a column.
        ranked: Positions of their training images, the most influential first, ``(columns, rows)``.
    """
    first_row = targets.inputs(torch.tensor(positions))
    labels = targets.labels(torch.tensor(positions)).tolist()
    rows = [[to_unit_range(image, targets.card) for image in first_row]]
    for row in ranked.T:
        rows.append([to_unit_range(image, train.card) for image in train.inputs(row)])
    names = ["image", *(f"rank {rank}" for rank in range(1, len(rows)))]
    titles = [class_name(targets.card, label) for label in labels]
    return figures.save_figure(path, lambda: figures.image_grid(rows, names=names, titles=titles))


def drawn_positions(labels: Tensor, count: int) -> list[int]:
    """Return the positions of the targets to draw, from each class in turn: the same for every model."""
    positions: list[int] = round_robin_by_class(labels, count).tolist()
    return positions
