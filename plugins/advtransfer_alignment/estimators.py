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
"""The relative change of the evidence at which its maximisation ends."""
MIN_LENGTH, TYPICAL_LENGTH, MAX_LENGTH = 1e-2, 10.0, 1e5
"""Lengths of features and outputs between which their evidence is computed as they are, and what others are made."""


def leep_score(logits: Tensor, labels: Tensor) -> float:
    """LEEP (Nguyen et al., 2020): the mean log-likelihood of the labels through the source's own classes.

    ``(1/n) sum_i log sum_z P(y_i | z) theta(x_i)_z``, theta the source's probabilities and P(y | z) their empirical
    conditional. At most 0; the less negative, the better.

    Args:
        logits: Of the source's own classes, ``(N, Z)``.
        labels: The target's classes, ``(N,)``.
    """
    theta = logits.double().softmax(1)
    joint = torch.zeros((int(labels.max()) + 1, theta.shape[1]), dtype=torch.float64).index_add_(
        0, labels, theta
    )
    # a source class of no probability anywhere says nothing, wherever it is looked up
    given = joint / joint.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return float((given[labels] * theta).sum(1).log().mean())


@dataclass(frozen=True, slots=True)
class HScore:
    """The H-score, and in how many directions the features vary."""

    score: float
    rank: int


def h_score_and_rank(features: Tensor, labels: Tensor, *, cutoff: float) -> HScore:
    """H-score (Bao et al., 2019): ``tr(cov(f)^-1 cov(E[f | y]))``.

    The share of the whitened features' variance that lies between the classes' means, summed over directions: from 0
    to the number of classes minus 1. Computed from an orthonormal basis of the centred features, without inverting.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)``.
        cutoff: Directions whose singular value is below this share of the largest are left out.
    """
    centred = features.double() - features.double().mean(0)
    basis, values, _ = torch.linalg.svd(centred, full_matrices=False)
    # features that do not vary leave rounding behind, whose directions mean nothing
    rounding = max(features.shape) * torch.finfo(torch.float64).eps * features.double().norm()
    basis = basis[:, (values > cutoff * values[:1]) & (values > rounding)]
    sizes = torch.bincount(labels)
    totals = torch.zeros((len(sizes), basis.shape[1]), dtype=torch.float64).index_add_(
        0, labels, basis
    )
    return HScore(float((totals.square().sum(1) / sizes.clamp_min(1)).sum()), basis.shape[1])


def log_me_score(features: Tensor, outputs: Tensor) -> float:
    """LogME (You et al., 2021): the largest log evidence of a Bayesian linear regression, by sample and output.

    For each column y: ``log p(y | F, alpha, beta) / N`` at the prior precision alpha and the noise precision beta that
    make it largest, found by their fixed point, averaged over the columns.

    Args:
        features: F, ``(N, D)``.
        outputs: One-hot classes or values, ``(N, K)``; a column of zeros is left out, since its evidence has no bound.

    Raises:
        ValueError: Every column is zero.
    """
    left, values, _ = torch.linalg.svd(features.double(), full_matrices=False)
    squares = (values / _length_scale(float(values.max()))).square()
    found = [
        _column_evidence(left.T, squares, column, width=features.shape[1])
        for column in outputs.double().T
        if column.any()
    ]
    if not found:
        raise ValueError(
            "found outputs that are all zero; expected some that are not; check the labels"
        )
    return sum(found) / len(found) / len(features)


def _column_evidence(basis: Tensor, squares: Tensor, column: Tensor, *, width: int) -> float:
    """The evidence of one column y ``(N,)`` at its largest; a scale of y moves it by a known amount."""
    scale = _length_scale(float(column.norm()))
    inside, length = basis @ (column / scale), float((column / scale).square().sum())
    return _maximum_evidence(inside, squares, length, len(column), width) - len(column) * math.log(
        scale
    )


def _length_scale(length: float) -> float:
    """What a length is divided by, so that the fixed point starts near its end; 1 for all usual lengths.

    The scale of the features changes nothing in the evidence, since alpha takes it up; but from lengths that are far
    from 1 the iteration from alpha = beta = 1 runs out of floats, or ends in a worse fixed point.
    """
    return 1.0 if length == 0 or MIN_LENGTH <= length <= MAX_LENGTH else length / TYPICAL_LENGTH


def _maximum_evidence(
    inside: Tensor, squares: Tensor, length: float, count: int, width: int, *, rounds: int = 1000
) -> float:
    """The evidence of one column y at its largest.

    Args:
        inside: U^T y, the column in the basis of the features' left singular vectors.
        squares: Their squared singular values.
        length: ||y||^2.
        count: N.
        width: D.
        rounds: The most steps of the fixed point.
    """
    # what no feature can explain; at least rounding, or a perfect fit would have infinite precision
    outside = max(length - float(inside.square().sum()), 1e-12 * length)
    alpha = beta = 1.0
    last = -math.inf
    for _ in range(rounds):
        precision = alpha + beta * squares
        weights = float((beta**2 * squares * inside.square() / precision.square()).sum())
        errors = float((alpha**2 * inside.square() / precision.square()).sum()) + outside
        determinant = float(precision.log().sum()) + (width - len(squares)) * math.log(alpha)
        now = 0.5 * (
            count * math.log(beta)
            + width * math.log(alpha)
            - count * math.log(2 * math.pi)
            - beta * errors
            - alpha * weights
            - determinant
        )
        if abs(now - last) <= EVIDENCE_TOLERANCE * max(1.0, abs(now)):
            break
        last, gamma = now, float((beta * squares / precision).sum())
        alpha, beta = _clamped_precision(gamma, weights), _clamped_precision(count - gamma, errors)
    return now


def _clamped_precision(numerator: float, denominator: float) -> float:
    """A precision whose square is a float too: features that explain nothing or everything have extreme ones."""
    return min(max(numerator / max(denominator, 1e-100), 1e-100), 1e100)


def estimate_leep(logits: Tensor, labels: Tensor, card: DataCard) -> float:
    """LEEP of the source's own logits ``(N, Z)``."""
    if logits.shape[1] < 2:
        raise Inapplicable("LEEP needs a source that tells classes apart; this one has one output")
    return leep_score(logits, labels)


def estimate_h_score(features: Tensor, labels: Tensor, card: DataCard, *, cutoff: float) -> float:
    """H-score of features ``(N, D)``."""
    found = h_score_and_rank(features, labels, cutoff=cutoff)
    if found.rank + 1 >= len(features):
        raise Inapplicable(
            f"the H-score needs more samples than features vary in; {len(features)} samples vary in {found.rank}"
        )
    return found.score


def estimate_log_me(features: Tensor, labels: Tensor, card: DataCard) -> float:
    """LogME of features ``(N, D)`` for the labels of any task."""
    outputs = functional.one_hot(labels, card.outputs) if card.task == "classes" else labels
    if not outputs.any():
        raise Inapplicable("LogME needs labels that are not all zero")
    return log_me_score(features, outputs)


evidence = log_me_score
"""Deprecated name."""
