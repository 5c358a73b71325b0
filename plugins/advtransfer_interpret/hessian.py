"""Influence functions of a softmax layer, exactly and in closed form (Koh and Liang, 2017; Utrera et al., 2021).

The Hessian of the summed cross-entropy is the sum over training samples of ``(diag(p) - p p') kron (phi phi')``, with
a 1 for the bias in phi. No training sample has a gradient along two known kinds of direction: one shift of all classes
alike, and weights outside the span of the training features. Without them, the Hessian has ``(K - 1) * (rank + 1)``
rows instead of ``K * (D + 1)``, and gives the same scores, also where a ridge is added to the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable

CHUNK = 1024  # samples whose gradients are held at once
BYTES = 32  # by squared row: float64 for the Hessian, its eigenvectors, and a workspace as large as both


@dataclass(frozen=True, slots=True)
class Layer:
    """Samples at a softmax layer: features ``(N, D)``, probabilities ``(N, K)``, labels, whether there are biases."""

    features: Tensor
    probabilities: Tensor
    labels: Tensor
    bias: bool

    @property
    def residuals(self) -> Tensor:
        """The gradient with respect to the logits, ``(N, K)``."""
        return self.probabilities - torch.nn.functional.one_hot(self.labels, self.probabilities.shape[1])

    def within(self, span: Tensor) -> Tensor:
        """The features in a basis ``(D, rank)``, and after them a 1 where there are biases."""
        inside = self.features @ span
        return torch.cat([inside, inside.new_ones(len(inside), int(self.bias))], dim=1)


@dataclass(frozen=True, slots=True)
class Influences:
    """The scores ``(targets, train)``, the size of the reduced Hessian, and how many directions were inverted."""

    scores: Tensor
    size: int
    rank: int


def influences(train: Layer, targets: Layer, *, rcond: float, damping: float, largest: int) -> Influences:
    """The scores ``G_targets H^+ G_train'``: positive where training on a sample lowers a target's loss.

    Args:
        train: The training samples, float64.
        targets: The samples whose loss is asked about.
        rcond: Eigenvalues below this share of the largest are taken as 0 (and what is below rounding always is).
        damping: The ridge: what is added to the Hessian of the summed cross-entropy for each weight, not for biases.
        largest: The most rows that the reduced Hessian may have.

    Raises:
        Inapplicable: It has more, or all scores are 0.
    """
    classes, span = _without_shift(train.probabilities), _span(train.features)
    size = classes.shape[1] * (span.shape[1] + int(train.bias))
    if size > largest:
        there = f"{classes.shape[1]} + 1 classes, {span.shape[1]} independent features"
        needed = f"take fewer labels, or {BYTES * size**2 / 1e9:.2g} GB of memory and largest: {size}"
        raise Inapplicable(f"the Hessian has {size} rows ({there}), more than {largest}; {needed}")
    values, vectors = torch.linalg.eigh(_hessian(train, span, classes, damping=damping))
    kept = values > max(rcond, size * torch.finfo(values.dtype).eps) * values[-1]
    whitened = vectors[:, kept] / values[kept].sqrt()
    left, right = (_gradients(layer, span, classes, whitened) for layer in (targets, train))
    scores = left @ right.T
    if not scores.any():
        raise Inapplicable("all influences are 0: the model is certain of every training image, or of every target")
    return Influences(scores, size, int(kept.sum()))


def _without_shift(probabilities: Tensor) -> Tensor:
    """An orthonormal basis ``(K, K - 1)`` of what differs between classes."""
    count = probabilities.shape[1]
    centring = torch.eye(count).to(probabilities) - 1 / count
    basis: Tensor = torch.linalg.eigh(centring).eigenvectors[:, 1:]
    return basis


def _span(features: Tensor) -> Tensor:
    """An orthonormal basis ``(D, rank)`` of the features' span."""
    _, values, directions = torch.linalg.svd(features, full_matrices=False)
    kept = values > max(features.shape) * torch.finfo(values.dtype).eps * values[:1]
    basis: Tensor = directions[kept].T
    return basis


def _hessian(train: Layer, span: Tensor, classes: Tensor, *, damping: float) -> Tensor:
    """The sum over samples of ``S_n kron (phi phi')``, with ``S = U' (diag(p) - p p') U``, and the ridge."""
    features, count = train.within(span), classes.shape[1]
    rank, means = features.shape[1], train.probabilities @ classes
    ridge = features.new_zeros(rank)
    ridge[: span.shape[1]] = damping
    hessian = features.new_zeros(count, rank, count, rank)
    for a, b in combinations_with_replacement(range(count), 2):
        weights = train.probabilities @ (classes[:, a] * classes[:, b]) - means[:, a] * means[:, b]
        block = features.T @ (weights[:, None] * features)
        hessian[a, :, b], hessian[b, :, a] = block, block
    hessian = hessian.reshape(count * rank, count * rank)
    hessian.diagonal().add_(ridge.repeat(count))
    return hessian


def _gradients(layer: Layer, span: Tensor, classes: Tensor, whitened: Tensor) -> Tensor:
    """Each sample's gradient in the whitened directions, ``(N, rank)``."""
    residuals, features = layer.residuals @ classes, layer.within(span)
    parts = zip(torch.split(residuals, CHUNK), torch.split(features, CHUNK), strict=True)
    return torch.cat([(a[:, :, None] * b[:, None, :]).flatten(1) @ whitened for a, b in parts])
