"""Which training images a model's answers rest on: influence functions of its last layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.prediction import apply_in_chunks, chunks, predict
from advtransfer.types import Context, Given, Measurement, Samples
from advtransfer_interpret import canvas
from advtransfer_interpret.hessian import Layer, influences
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.samples import model_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHADE = 0.98  # the share of scores that the shades of the figure tell apart


@dataclass(frozen=True, slots=True)
class InfluenceFunctions:
    """An evaluation: the share of test images whose most influential training images are of their class."""

    rcond: float
    ranks: tuple[int, ...]
    largest: int

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Scores, class matches by rank, and the matrix of scores as a figure."""
        if given.train is None:
            raise ValueError("found no training samples; expected some; declare needs=('model', 'train')")
        layer = LastLayer.of(model_of(given), given.test.inputs(torch.arange(1)).to(context.device))
        train, targets = (_at(layer, samples, context) for samples in (given.train, given.test))
        context.progress(1, 3)
        found = influences(train, targets, rcond=self.rcond, largest=self.largest)
        context.progress(2, 3)
        matches = class_matches(found.scores, train.labels, targets.labels)
        chance = _chance(train.labels, targets.labels)
        kept = matches[:, : max(self.ranks)]
        by_rank = kept.double().mean(0).tolist()
        return Measurement(
            metrics={
                **{f"class_match@{rank}": by_rank[rank - 1] for rank in self.ranks if rank <= len(by_rank)},
                "three_of_five": three_of_five(matches),
                "chance_match": chance,
                "hessian_size": float(found.size),
                "hessian_rank": float(found.rank),
            },
            samples={"class_match": kept.to(torch.uint8).cpu()},
            files={
                "class_match": curve(context.scratch / "class_match.svg", by_rank, chance),
                "influence": matrix(context.scratch / "influence.png", found.scores, train.labels, targets.labels),
            },
        )


def class_matches(scores: Tensor, train: Tensor, targets: Tensor) -> Tensor:
    """Whether the training sample of each rank has the target's class, ``(targets, train)``; the highest score first.

    Equal scores keep the order of the training samples.
    """
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    return train[ranked] == targets[:, None]


def three_of_five(matches: Tensor) -> float:
    """The share of targets with at least three matches among their first five."""
    return (matches[:, :5].sum(1) >= 3).double().mean().item()


def matrix(path: Path, scores: Tensor, train: Tensor, targets: Tensor) -> Path:
    """Draw the scores over their Frobenius norm, rows and columns sorted by class (Utrera et al., 2021, Figure 7)."""
    rows, columns = targets.argsort(stable=True), train.argsort(stable=True)
    shown = (scores / scores.norm().clamp_min(torch.finfo(scores.dtype).tiny))[rows][:, columns].cpu()
    reach = float(shown.abs().flatten().kthvalue(max(1, round(SHADE * shown.numel()))).values) or 1.0

    def build() -> Figure:
        figure = canvas.figure(5.0, 4.2)
        axes = figure.subplots()
        image = axes.imshow(shown.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        for lines, labels in ((axes.axhline, targets[rows]), (axes.axvline, train[columns])):
            for place in (labels.diff().nonzero().flatten() + 0.5).tolist():
                lines(place, color="black", linewidth=0.3)
        axes.set_xlabel("training images, by class")
        axes.set_ylabel("test images, by class")
        figure.colorbar(image, ax=axes, label="influence (positive: lowers the loss)")
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


def _at(layer: LastLayer, samples: Samples, context: Context) -> Layer:
    """What the last layer sees and says of samples, in float64."""
    with torch.no_grad():
        parts = [apply_in_chunks(layer.features, inputs.to(context.device)) for _, inputs, _ in chunks(samples)]
    features = torch.cat(parts).double()
    logits, labels = predict(layer.model, samples, device=context.device)
    if not (logits.isfinite().all() and features.isfinite().all()):
        raise Inapplicable("the model's features or logits are not finite on all samples")
    ones = features.new_ones(len(features), int(layer.bias))
    probabilities = logits.double().softmax(1).to(context.device)
    return Layer(torch.cat([features, ones], dim=1), probabilities, labels.to(context.device))


def _chance(train: Tensor, targets: Tensor) -> float:
    """The match to expect of training images picked at random."""
    return (train[None, :] == targets[:, None]).double().mean().item()
