"""Transferability estimators (LEEP, H-score, LogME) and the cases in which they do not apply."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.types import DataCard

EVIDENCE_TOLERANCE = 1e-10
"""Relative change of the evidence at which its maximisation stops."""
MIN_LENGTH, MAX_LENGTH = 1e-2, 1e5
"""Features and outputs of lengths between these are not rescaled."""
TYPICAL_LENGTH = 10.0
"""Length to which others are rescaled."""


def leep_score(logits: Tensor, labels: Tensor) -> float:
    """Return LEEP: the mean log-likelihood of the labels through the source's own classes.

    Nguyen et al. (2020): ``(1/n) sum_i log sum_z P(y_i | z) theta(x_i)_z``, with the source's
    probabilities theta and their empirical conditional P(y | z). At most 0; higher is better.

    Args:
        logits: Logits of the source's own classes, ``(N, Z)``.
        labels: The target's classes, ``(N,)``.
    """
    theta = logits.double().softmax(1)
    classes = int(labels.max()) + 1
    joint = torch.zeros((classes, theta.shape[1]), dtype=torch.float64)
    joint.index_add_(0, labels, theta)
    # A source class without any probability adds nothing, so its conditional may be anything.
    conditional = joint / joint.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    likelihoods = (conditional[labels] * theta).sum(1)
    return float(likelihoods.log().mean())


@dataclass(frozen=True, slots=True)
class HScore:
    """The H-score, and the number of directions in which the features vary."""

    score: float
    rank: int


def h_score_and_rank(features: Tensor, labels: Tensor, *, cutoff: float) -> HScore:
    """Return the H-score ``tr(cov(f)^-1 cov(E[f | y]))`` (Bao et al., 2019).

    The share of the whitened features' variance that lies between the classes' means, summed over
    directions: from 0 to the number of classes minus 1. Computed from an orthonormal basis of the
    centred features, without inverting.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)``.
        cutoff: Directions whose singular value is below this share of the largest are left out.
    """
    centred = features.double() - features.double().mean(0)
    basis, values, _ = torch.linalg.svd(centred, full_matrices=False)
    # Constant features leave only rounding errors after centring. Their directions mean nothing.
    rounding = max(features.shape) * torch.finfo(torch.float64).eps * features.double().norm()
    is_significant = (values > cutoff * values[:1]) & (values > rounding)
    basis = basis[:, is_significant]
    rank = basis.shape[1]
    class_sizes = torch.bincount(labels)
    class_sums = torch.zeros((len(class_sizes), rank), dtype=torch.float64)
    class_sums.index_add_(0, labels, basis)
    # In the whitened basis cov(f) is the identity, and the trace is that of cov(E[f | y]) alone.
    variances = class_sums.square().sum(1) / class_sizes.clamp_min(1)
    return HScore(float(variances.sum()), rank)


def log_me_score(features: Tensor, outputs: Tensor) -> float:
    """Return LogME, the largest log evidence of a Bayesian linear regression (You et al., 2021).

    By sample and output: for each column y, ``log p(y | F, alpha, beta) / N`` at the prior
    precision alpha and the noise precision beta that maximise it, found by their fixed point,
    averaged over the columns.

    Args:
        features: F, ``(N, D)``.
        outputs: One-hot classes or values, ``(N, K)``. A column of zeros is left out, since its
            evidence has no bound.

    Raises:
        ValueError: Every column is zero.
    """
    left_vectors, values, _ = torch.linalg.svd(features.double(), full_matrices=False)
    squares = (values / _length_scale(float(values.max()))).square()
    evidences = [
        _column_evidence(left_vectors.T, squares, column, width=features.shape[1])
        for column in outputs.double().T
        if column.any()
    ]
    if not evidences:
        raise ValueError(
            "found only zero outputs; expected at least one nonzero column; check the labels"
        )
    return sum(evidences) / len(evidences) / len(features)


def _column_evidence(basis: Tensor, squares: Tensor, column: Tensor, *, width: int) -> float:
    """Return the largest log evidence of one column y ``(N,)``."""
    scale = _length_scale(float(column.norm()))
    scaled = column / scale
    squared_length = float(scaled.square().sum())
    evidence = _maximum_evidence(basis @ scaled, squares, squared_length, len(column), width)
    # Dividing y by a scale adds N log(scale) to its log density.
    return evidence - len(column) * math.log(scale)


def _length_scale(length: float) -> float:
    """Return the divisor of a length, so that the fixed point starts near its end.

    It is 1 for all usual lengths. The scale of the features does not change the evidence, since
    alpha takes it up. But from lengths far from 1 the iteration from alpha = beta = 1 overflows, or
    ends in a worse fixed point.
    """
    return 1.0 if length == 0 or MIN_LENGTH <= length <= MAX_LENGTH else length / TYPICAL_LENGTH


def _maximum_evidence(
    projections: Tensor,
    squares: Tensor,
    squared_length: float,
    count: int,
    width: int,
    *,
    rounds: int = 1000,
) -> float:
    """Return the largest log evidence of one column y over alpha and beta.

    Args:
        projections: U^T y, the column in the basis of the features' left singular vectors.
        squares: Squared singular values of the features.
        squared_length: ||y||^2.
        count: N.
        width: D.
        rounds: Largest number of steps of the fixed point.
    """
    # The part of y outside the features' span. A perfect fit would have infinite precision, so it
    # is at least rounding.
    unexplained = max(squared_length - float(projections.square().sum()), 1e-12 * squared_length)
    alpha = beta = 1.0
    last_evidence = -math.inf
    for _ in range(rounds):
        # The posterior precision of each weight in the basis of the singular vectors.
        precision = alpha + beta * squares
        weight_norm = float((beta**2 * squares * projections.square() / precision.square()).sum())
        residual = float((alpha**2 * projections.square() / precision.square()).sum()) + unexplained
        determinant = float(precision.log().sum()) + (width - len(squares)) * math.log(alpha)
        evidence = 0.5 * (
            count * math.log(beta)
            + width * math.log(alpha)
            - count * math.log(2 * math.pi)
            - beta * residual
            - alpha * weight_norm
            - determinant
        )
        if abs(evidence - last_evidence) <= EVIDENCE_TOLERANCE * max(1.0, abs(evidence)):
            break
        last_evidence = evidence
        # gamma is the number of directions that the data determine rather than the prior.
        gamma = float((beta * squares / precision).sum())
        alpha = _clamped_precision(gamma, weight_norm)
        beta = _clamped_precision(count - gamma, residual)
    return evidence


def _clamped_precision(numerator: float, denominator: float) -> float:
    """Return a precision clamped so that its square is a finite float.

    Features that explain nothing or everything have extreme precisions.
    """
    return min(max(numerator / max(denominator, 1e-100), 1e-100), 1e100)


def estimate_leep(logits: Tensor, labels: Tensor, card: DataCard) -> float:
    """Return LEEP of the source's own logits ``(N, Z)``."""
    if logits.shape[1] < 2:
        raise Inapplicable("LEEP needs a source that tells classes apart; this one has one output")
    return leep_score(logits, labels)


def estimate_h_score(features: Tensor, labels: Tensor, card: DataCard, *, cutoff: float) -> float:
    """Return the H-score of features ``(N, D)``."""
    h_score = h_score_and_rank(features, labels, cutoff=cutoff)
    if h_score.rank + 1 >= len(features):
        raise Inapplicable(
            f"the H-score needs more samples than features vary in; "
            f"{len(features)} samples vary in {h_score.rank}"
        )
    return h_score.score


def estimate_log_me(features: Tensor, labels: Tensor, card: DataCard) -> float:
    """Return LogME of features ``(N, D)`` for the labels of any task."""
    outputs = functional.one_hot(labels, card.outputs) if card.task == "classes" else labels
    if not outputs.any():
        raise Inapplicable("LogME needs labels that are not all zero")
    return log_me_score(features, outputs)


evidence = log_me_score
"""Deprecated name."""
