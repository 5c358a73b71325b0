"""Influence functions of a softmax layer in closed form, by the exact Hessian or the empirical Fisher matrix.

Koh and Liang (2017), as Utrera et al. (2021) use them. The Hessian of the summed cross-entropy is
the sum over training samples of ``(diag(p) - p p') kron (phi phi')``, with a 1 for the bias in phi.
No training sample has a gradient along two kinds of direction that are known in advance: the same
shift of all classes, and weights outside the span of the training features. Without them, the
Hessian has ``(K - 1) * (rank + 1)`` rows instead of ``K * (D + 1)``, and gives the same scores, also
if a ridge is added to the weights. The empirical Fisher matrix is the sum of ``g g'`` over the
training samples' gradients, and lacks the same directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable

Curvature: TypeAlias = Literal["exact", "fisher"]
"""The Hessian of the summed cross-entropy, or the empirical Fisher matrix in its place."""

GRADIENT_CHUNK = 1024
"""Number of samples whose gradients are held at once."""
BYTES_PER_SQUARED_ROW = 32
"""Float64 for the Hessian, for its eigenvectors, and for a workspace as large as both."""


@dataclass(frozen=True, slots=True)
class LayerSamples:
    """Samples at a softmax layer.

    Args:
        features: Inputs of the layer, ``(N, D)``.
        probabilities: Outputs of the softmax, ``(N, K)``.
        labels: Classes, ``(N,)``.
        bias: True if the layer has a bias.
    """

    features: Tensor
    probabilities: Tensor
    labels: Tensor
    bias: bool

    @property
    def logit_gradients(self) -> Tensor:
        """Gradients of the cross-entropy with respect to the logits, ``(N, K)``."""
        classes = self.probabilities.shape[1]
        return self.probabilities - torch.nn.functional.one_hot(self.labels, classes)

    def features_in_basis(self, basis: Tensor) -> Tensor:
        """Return the features in a basis ``(D, rank)``, followed by a 1 if there is a bias."""
        coordinates = self.features @ basis
        ones = coordinates.new_ones(len(coordinates), int(self.bias))
        return torch.cat([coordinates, ones], dim=1)


@dataclass(frozen=True, slots=True)
class InfluenceScores:
    """Influences of training samples on targets.

    Args:
        scores: The scores, ``(targets, train)``.
        hessian_size: Number of rows of the reduced Hessian, or of the Fisher matrix in its place.
        hessian_rank: Number of its eigenvalues that were inverted.
    """

    scores: Tensor
    hessian_size: int
    hessian_rank: int


def compute_influences(
    train: LayerSamples,
    targets: LayerSamples,
    *,
    rcond: float,
    damping: float,
    largest: int,
    curvature: Curvature = "exact",
) -> InfluenceScores:
    """Return the scores ``G_targets H^+ G_train'``, or with the empirical Fisher matrix in place of H.

    A score is positive if training on the sample lowers the target's loss.

    Args:
        train: The training samples, float64.
        targets: The samples whose loss is explained, float64.
        rcond: Eigenvalues below this fraction of the largest count as 0; so do those below
            rounding.
        damping: Ridge that is added to the Hessian of the summed cross-entropy for each weight, not
            for biases.
        largest: Largest number of rows that the reduced Hessian may have.
        curvature: ``exact`` for the Hessian H, ``fisher`` for the sum of ``g g'`` over the training
            samples, with their labels: nearest neighbours by these scores are those of the Fisher
            kernel (Khanna et al., 2019; Utrera et al., 2021, appendix A).

    Raises:
        Inapplicable: The Hessian has more rows, or all scores are 0.
    """
    class_basis = _class_contrasts(train.probabilities)
    feature_basis = _feature_basis(train.features)
    size = class_basis.shape[1] * (feature_basis.shape[1] + int(train.bias))
    _require_size(size, class_basis, feature_basis, largest)
    if curvature == "exact":
        hessian = _reduced_hessian(train, feature_basis, class_basis)
    else:
        hessian = _reduced_fisher(train, feature_basis, class_basis)
    _add_ridge(hessian, damping, class_count=class_basis.shape[1], weights=feature_basis.shape[1])
    values, vectors = torch.linalg.eigh(hessian)
    # The paper cuts singular values at 1e-20, below rounding: there the directions are noise.
    rounding = size * torch.finfo(values.dtype).eps
    is_inverted = values > max(rcond, rounding) * values[-1]
    # Utrera et al. (2021, equation 8), with the sign of their code: a positive score helps. With
    # W = V / sqrt(lambda), H^+ = W W', so the scores are products of whitened gradients.
    whitening = vectors[:, is_inverted] / values[is_inverted].sqrt()
    target_gradients = _whitened_gradients(targets, feature_basis, class_basis, whitening)
    train_gradients = _whitened_gradients(train, feature_basis, class_basis, whitening)
    scores = target_gradients @ train_gradients.T
    if not scores.any():
        raise Inapplicable(
            "all influences are 0: the model is certain of every training image, or of every target"
        )
    return InfluenceScores(scores, size, int(is_inverted.sum()))


def _require_size(size: int, class_basis: Tensor, feature_basis: Tensor, largest: int) -> None:
    if size <= largest:
        return
    dimensions = (
        f"{class_basis.shape[1]} + 1 classes, {feature_basis.shape[1]} independent features"
    )
    gigabytes = BYTES_PER_SQUARED_ROW * size**2 / 1e9
    raise Inapplicable(
        f"the Hessian has {size} rows ({dimensions}), more than {largest}; "
        f"take fewer labels, or {gigabytes:.2g} GB of memory and largest: {size}"
    )


def _class_contrasts(probabilities: Tensor) -> Tensor:
    """Return an orthonormal basis ``(K, K - 1)`` of the differences between classes."""
    count = probabilities.shape[1]
    # The centring matrix has eigenvalue 0 for the common shift, which comes first, and 1 otherwise.
    centring = torch.eye(count).to(probabilities) - 1 / count
    basis: Tensor = torch.linalg.eigh(centring).eigenvectors[:, 1:]
    return basis


def _feature_basis(features: Tensor) -> Tensor:
    """Return an orthonormal basis ``(D, rank)`` of the features' span."""
    _, values, directions = torch.linalg.svd(features, full_matrices=False)
    # numpy's `matrix_rank` has the same cut-off.
    is_significant = values > max(features.shape) * torch.finfo(values.dtype).eps * values[:1]
    basis: Tensor = directions[is_significant].T
    return basis


def _reduced_hessian(train: LayerSamples, feature_basis: Tensor, class_basis: Tensor) -> Tensor:
    """Return the sum over samples of ``S kron (phi phi')``.

    Here ``S = U' (diag(p) - p p') U`` with the class basis U, and phi are the features in their
    basis.
    """
    features = train.features_in_basis(feature_basis)
    class_count = class_basis.shape[1]
    feature_count = features.shape[1]
    class_means = train.probabilities @ class_basis
    hessian = features.new_zeros(class_count, feature_count, class_count, feature_count)
    for a, b in combinations_with_replacement(range(class_count), 2):
        second_moments = train.probabilities @ (class_basis[:, a] * class_basis[:, b])
        covariances = second_moments - class_means[:, a] * class_means[:, b]
        block = features.T @ (covariances[:, None] * features)
        hessian[a, :, b] = block
        hessian[b, :, a] = block
    return hessian.reshape(class_count * feature_count, class_count * feature_count)


def _reduced_fisher(train: LayerSamples, feature_basis: Tensor, class_basis: Tensor) -> Tensor:
    """Return the sum over samples of ``g g'``, with the gradients at the samples' own labels."""
    size = class_basis.shape[1] * (feature_basis.shape[1] + int(train.bias))
    fisher = train.features.new_zeros(size, size)
    for gradients in _layer_gradients(train, feature_basis, class_basis):
        fisher += gradients.T @ gradients
    return fisher


def _add_ridge(hessian: Tensor, damping: float, *, class_count: int, weights: int) -> None:
    """Add the ridge to the diagonal for each weight, not for biases."""
    # The bases are orthonormal, so a ridge on the weights stays a ridge in their coordinates.
    ridge = hessian.new_zeros(len(hessian) // class_count)
    ridge[:weights] = damping
    hessian.diagonal().add_(ridge.repeat(class_count))


def _layer_gradients(
    samples: LayerSamples, feature_basis: Tensor, class_basis: Tensor
) -> Iterator[Tensor]:
    """Yield the gradients of some samples after the others, ``(n, size of the Hessian)``."""
    class_chunks = torch.split(samples.logit_gradients @ class_basis, GRADIENT_CHUNK)
    feature_chunks = torch.split(samples.features_in_basis(feature_basis), GRADIENT_CHUNK)
    for class_part, feature_part in zip(class_chunks, feature_chunks, strict=True):
        # The gradient of a weight is the logit's gradient times the feature.
        yield (class_part[:, :, None] * feature_part[:, None, :]).flatten(1)


def _whitened_gradients(
    samples: LayerSamples, feature_basis: Tensor, class_basis: Tensor, whitening: Tensor
) -> Tensor:
    """Return each sample's gradient in the whitened directions, ``(N, rank)``."""
    chunks = _layer_gradients(samples, feature_basis, class_basis)
    return torch.cat([gradients @ whitening for gradients in chunks])
