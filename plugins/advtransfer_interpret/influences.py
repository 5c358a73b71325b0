"""Which training images a model's answers rest on: influence functions of its last layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.prediction import apply_in_chunks, chunks, predict
from advtransfer.types import Context, Given, Measurement, Samples
from advtransfer_interpret.hessian import Layer, influences
from advtransfer_interpret.influence_figures import Side, curve, matrix
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.samples import model_of


@dataclass(frozen=True, slots=True)
class InfluenceFunctions:
    """An evaluation: the share of target images whose most influential training images are of their class."""

    rcond: float
    damping: float
    targets: str
    ranks: tuple[int, ...]
    largest: int

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Scores, class matches by rank, and the matrix of scores as a figure."""
        if given.train is None:
            raise ValueError("found no training samples; expected some; declare needs=('model', 'train')")
        layer = LastLayer.of(model_of(given), given.test.inputs(torch.arange(1)).to(context.device))
        train = _at(layer, given.train, context)
        targets = train if self.targets == "train" else _at(layer, given.test, context)
        context.progress(1, 3)
        found = influences(train, targets, rcond=self.rcond, damping=self.damping, largest=self.largest)
        context.progress(2, 3)
        matches = class_matches(found.scores, train.labels, targets.labels)
        kept, chance = matches[:, : max(self.ranks)], _chance(train.labels, targets.labels)
        by_rank = kept.double().mean(0).tolist()
        names, whose = given.test.card.names, "training images" if targets is train else "test images"
        sides = (Side("training images", train.labels, names), Side(whose, targets.labels, names))
        return Measurement(
            metrics={
                **{f"class_match@{rank}": by_rank[rank - 1] for rank in self.ranks if rank <= len(by_rank)},
                "three_of_five": three_of_five(matches),
                "chance_match": chance,
                "hessian_size": float(found.size),
                "hessian_rank": float(found.rank),
            },
            samples={"class_match": kept.to(torch.uint8).cpu()} if self.targets == "test" else {},
            files={
                "class_match": curve(context.scratch / "class_match.svg", by_rank, chance),
                "influence": matrix(context.scratch / "influence.png", found.scores, *sides),
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


def _at(layer: LastLayer, samples: Samples, context: Context) -> Layer:
    """What the last layer sees and says of samples, in float64."""
    with torch.no_grad():
        parts = [apply_in_chunks(layer.features, inputs.to(context.device)) for _, inputs, _ in chunks(samples)]
    features = torch.cat(parts).double()
    logits, labels = predict(layer.model, samples, device=context.device)
    if not (logits.isfinite().all() and features.isfinite().all()):
        raise Inapplicable("the model's features or logits are not finite on all samples")
    probabilities = logits.double().softmax(1).to(context.device)
    return Layer(features, probabilities, labels.to(context.device), layer.bias)


def _chance(train: Tensor, targets: Tensor) -> float:
    """The match to expect of training images picked at random."""
    return (train[None, :] == targets[:, None]).double().mean().item()
