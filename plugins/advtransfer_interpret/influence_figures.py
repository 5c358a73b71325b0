"""Influences drawn: every score by class, and how often a training image of each rank has the target's class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advtransfer_interpret import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADE = 0.98  # the share of scores that the shades of the figure tell apart
NAMED = 20  # the most classes whose names have room along a side


@dataclass(frozen=True, slots=True)
class Side:
    """What lies along one side of the matrix: which images, their labels ``(N,)``, and the classes' names."""

    images: str
    labels: Tensor
    names: tuple[str, ...]

    @property
    def order(self) -> Tensor:
        """The positions of the images, sorted by class."""
        return self.labels.argsort(stable=True)

    def mark(self, axes: Axes, which: str) -> None:
        """Lines between the classes, and their names, along the axis ``x`` or ``y``."""
        counts = self.labels.cpu().bincount()
        ends, there = counts.cumsum(0) - 0.5, counts.nonzero().flatten()
        line, along = (axes.axvline, axes.xaxis) if which == "x" else (axes.axhline, axes.yaxis)
        for end in ends[there].tolist()[:-1]:
            line(end, color="black", linewidth=0.3)
        named = there if len(there) <= NAMED else there[:0]
        names = [self.names[label] if self.names else str(label) for label in named.tolist()]
        along.set_ticks((ends - counts / 2)[named].tolist(), names)
        along.set_label_text(f"{self.images}, by class")


def matrix(path: Path, scores: Tensor, train: Side, targets: Side) -> Path:
    """Draw the scores over their Frobenius norm, rows and columns sorted by class (Utrera et al., 2021, Figure 7)."""
    shown = (scores / scores.norm().clamp_min(torch.finfo(scores.dtype).tiny))[targets.order][:, train.order].cpu()
    reach = float(shown.abs().flatten().kthvalue(max(1, round(SHADE * shown.numel()))).values) or 1.0

    def build() -> Figure:
        figure = canvas.figure(5.0, 4.2)
        axes = figure.subplots()
        image = axes.imshow(shown.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        train.mark(axes, "x")
        targets.mark(axes, "y")
        axes.tick_params(axis="x", rotation=45 if max(map(len, train.names), default=0) > 3 else 0)
        figure.colorbar(image, ax=axes, label="influence over its norm (positive: lowers the loss)")
        return figure

    return canvas.saved(path, build)


def curve(path: Path, by_rank: list[float], chance: float) -> Path:
    """Draw the class match against the rank (Utrera et al., 2021, Figure 8)."""

    def build() -> Figure:
        figure = canvas.figure(4.0, 3.0)
        axes = figure.subplots()
        axes.plot(range(1, len(by_rank) + 1), by_rank, color="#0072B2", marker=".", markersize=3, linewidth=1)
        axes.axhline(chance, color="#767676", linestyle=(0, (5, 1.5)), linewidth=0.8)
        axes.set_ylim(0, 1)
        axes.set_xlabel("rank of the training image")
        axes.set_ylabel("share of its class (dashed: chance)")
        return figure

    return canvas.saved(path, build)
