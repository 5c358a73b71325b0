"""Changes of both models' outputs under an attack on one of them (Liang et al., 2020 and 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advtransfer_alignment.linear_algebra import root_mean_square

MIN_DEVIATION = 1e-12
"""Changes of the outputs below this length have no direction: u = D / ||D|| is undefined."""

EIGENVALUE_CUTOFF = 1e-10
"""Eigenvalues of a matrix of second moments below this share of the largest count as zero."""


class DirectionMasks(NamedTuple):
    """Samples at which each of the `Deviations` has a direction, ``(N,)`` bool each."""

    surrogate: Tensor
    victim: Tensor
    white_box: Tensor


@dataclass(frozen=True, slots=True)
class Deviations:
    """Output changes under an attack on the surrogate model; float64.

    Args:
        surrogate: ``(N, d1)``: change of the surrogate's outputs under its own attack.
        victim: ``(N, d2)``: change of the victim's outputs under the surrogate's attack.
        white_box: ``(N, d2)``: change of the victim's outputs under its own attack.
    """

    surrogate: Tensor
    victim: Tensor
    white_box: Tensor

    def direction_masks(self) -> DirectionMasks:
        """Return at which samples each of the three has a direction."""
        return DirectionMasks(
            surrogate=self.surrogate.norm(dim=1) >= MIN_DEVIATION,
            victim=self.victim.norm(dim=1) >= MIN_DEVIATION,
            white_box=self.white_box.norm(dim=1) >= MIN_DEVIATION,
        )

    def at_samples(self, rows: Tensor) -> Deviations:
        """Return the deviations of some samples."""
        return Deviations(self.surrogate[rows], self.victim[rows], self.white_box[rows])


def alpha_1(deviations: Deviations) -> Tensor:
    """Return the adversarial loss transferability of each sample, ``(N,)`` (Liang et al., 2021).

    ``||Delta_12|| / ||Delta_22||``: the victim's change under the surrogate's attack, as a share of
    its change under its own. Above 1 where the white-box attack is not the strongest one; not
    finite where that attack does not move the victim.
    """
    # The loss between outputs is their l2 distance on raw logits, as in the released code.
    shares: Tensor = deviations.victim.norm(dim=1) / deviations.white_box.norm(dim=1)
    return shares


def alpha_2(deviations: Deviations, *, weights: Tensor | None = None) -> float:
    """Return how well one linear map describes both models' changes (Liang et al., 2021).

    From 0 to 1: ``||E[w u1 u2^T]||_F`` of the unit deviations u1 of the surrogate and u2 of the
    victim. With `alpha_1` as weights w ``(N,)`` this is their joint measure alpha_1 * alpha_2: the
    mean is taken over the product, and the norm after the mean. For a model with itself the value
    is not 1, since its changes need not all have one direction.
    """
    surrogate_units = deviations.surrogate / deviations.surrogate.norm(dim=1, keepdim=True)
    victim_units = deviations.victim / deviations.victim.norm(dim=1, keepdim=True)
    if weights is not None:
        surrogate_units = surrogate_units * weights.unsqueeze(1)
    # The mean over samples comes first and the norm after it: with the norm inside, any two
    # models would give 1.
    mean_outer_product = surrogate_units.T @ victim_units / len(surrogate_units)
    return float(mean_outer_product.norm())


def alpha_2_squared_unbiased(deviations: Deviations) -> float:
    """Return alpha_2 squared without the bias of a finite sample; may be below 0.

    The pairs of a sample with itself add 1 / N to the square; they are left out.
    """
    count = len(deviations.surrogate)
    return (count * alpha_2(deviations) ** 2 - 1) / (count - 1)


@dataclass(frozen=True, slots=True)
class DeviationMap:
    """tau_2, and the map A ``(d2, d1)`` from the surrogate's to the victim's changes behind it."""

    tau: float
    matrix: Tensor


def tau_2(surrogate: Tensor, victim: Tensor) -> DeviationMap | None:
    """Return the adversarial transferability by deviation (Liang et al., 2020, definition 3).

    ``<2 D2 - A D1, A D1> / ||D2||^2`` over the samples, for the surrogate's deviations D1 ``(N,
    d1)`` and the victim's D2 ``(N, d2)`` under the attack on the surrogate, with ``A = proj(E[D2
    D1^T] E[D1 D1^T]^+, r)``: the least-squares map, scaled to a spectral norm of at most ``r =
    ||D2|| / ||D1||``. Where it is not scaled, tau_2 is the share of D2 that A explains. None where
    one of the models does not move at any sample.

    A is fitted to the samples it is measured on, so that unrelated changes give about d1 / N and
    not 0. Read tau_2 beside the number of the surrogate's outputs and of samples.
    """
    surrogate_length = root_mean_square(surrogate)
    victim_length = root_mean_square(victim)
    if min(surrogate_length, victim_length) < MIN_DEVIATION:
        return None
    cross_moment = second_moment(victim, surrogate)
    least_squares = cross_moment @ moment_pseudoinverse(second_moment(surrogate, surrogate))
    # The limit r keeps the predicted deviations from being longer than the victim's own.
    matrix = limit_spectral_norm(least_squares, victim_length / surrogate_length)
    predicted = surrogate @ matrix.T
    inner_products = ((2 * victim - predicted) * predicted).sum(1)
    tau = inner_products.mean() / victim_length**2
    return DeviationMap(float(tau), matrix)


def second_moment(first: Tensor, second: Tensor) -> Tensor:
    """Return E[a b^T] of rows ``(N, d1)`` and ``(N, d2)``, ``(d1, d2)``."""
    return first.T @ second / len(first)


def moment_pseudoinverse(moments: Tensor) -> Tensor:
    """Return the Moore-Penrose inverse of a matrix of second moments."""
    # Second moments are symmetric, and singular where outputs are linearly dependent.
    inverse: Tensor = torch.linalg.pinv(moments, rtol=EIGENVALUE_CUTOFF, hermitian=True)
    return inverse


def limit_spectral_norm(matrix: Tensor, radius: float) -> Tensor:
    """Return the matrix, scaled down to spectral norm `radius` where its own is larger."""
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    return matrix if norm <= radius else matrix * (radius / norm)
