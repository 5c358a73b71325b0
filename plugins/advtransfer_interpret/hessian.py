"""Influence functions of a softmax layer, exactly and in closed form (Koh and Liang, 2017; Utrera et al., 2021).

The Hessian of the summed cross-entropy is the sum over training samples of ``(diag(p) - p p') kron (phi phi')``. It
is zero along two known kinds of direction: one shift of all classes alike, and features outside the span of the
training features. Without them it has ``(K - 1) * rank`` rows instead of ``K * D``, and the same pseudo-inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable

CHUNK = 1024  # samples whose gradients are held at once


@dataclass(frozen=True, slots=True)
class Layer:
    """Samples at a softmax layer: features ``(N, D)`` (with a 1 for the bias), probabilities ``(N, K)``, labels."""

    features: Tensor
    probabilities: Tensor
    labels: Tensor

    @property
    def residuals(self) -> Tensor:
        """The gradient with respect to the logits, ``(N, K)``."""
        return self.probabilities - torch.nn.functional.one_hot(self.labels, self.probabilities.shape[1])


@dataclass(frozen=True, slots=True)
class Influences:
    """The scores ``(targets, train)``, the size of the reduced Hessian, and how many directions were inverted."""

    scores: Tensor
    size: int
    rank: int


def influences(train: Layer, targets: Layer, *, rcond: float, largest: int) -> Influences:
    """The scores ``G_targets H^+ G_train'``: positive where training on a sample lowers a target's loss.

    To first order, a target's loss rises by its score when the training sample is left out.

    Args:
        train: The training samples, float64.
        targets: The samples whose loss is asked about.
        rcond: Eigenvalues below this share of the largest are taken as 0 (and what is below rounding always is).
        largest: The most rows that the reduced Hessian may have.

    Raises:
        Inapplicable: It has more, or is 0.
    """
    classes, span = _without_shift(train.probabilities), _span(train.features)
    size = classes.shape[1] * span.shape[1]
    if size > largest:
        found = f"{size} rows ({classes.shape[1]} + 1 classes, {span.shape[1]} independent features)"
        raise Inapplicable(f"the Hessian has {found}, more than {largest}; take fewer labels, or raise `largest`")
    values, vectors = torch.linalg.eigh(_hessian(train.features @ span, train.probabilities, classes))
    kept = values > max(rcond, size * torch.finfo(values.dtype).eps) * values[-1]
    if not kept.any():
        raise Inapplicable("the Hessian is 0: the model is certain of every training sample, so none has an influence")
    whitened = vectors[:, kept] / values[kept].sqrt()
    left, right = (_gradients(layer, span, classes, whitened) for layer in (targets, train))
    return Influences(left @ right.T, size, int(kept.sum()))


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


def _hessian(features: Tensor, probabilities: Tensor, classes: Tensor) -> Tensor:
    """The sum over samples of ``S_n kron (phi phi')``, with ``S = U' (diag(p) - p p') U``, block by block."""
    rank, count = features.shape[1], classes.shape[1]
    means = probabilities @ classes
    hessian = features.new_zeros(count, rank, count, rank)
    for a, b in combinations_with_replacement(range(count), 2):
        weights = probabilities @ (classes[:, a] * classes[:, b]) - means[:, a] * means[:, b]
        block = features.T @ (weights[:, None] * features)
        hessian[a, :, b], hessian[b, :, a] = block, block
    return hessian.reshape(count * rank, count * rank)


def _gradients(layer: Layer, span: Tensor, classes: Tensor, whitened: Tensor) -> Tensor:
    """Each sample's gradient in the whitened directions, ``(N, rank)``."""
    residuals, features = layer.residuals @ classes, layer.features @ span
    parts = zip(torch.split(residuals, CHUNK), torch.split(features, CHUNK), strict=True)
    return torch.cat([(a[:, :, None] * b[:, None, :]).flatten(1) @ whitened for a, b in parts])
