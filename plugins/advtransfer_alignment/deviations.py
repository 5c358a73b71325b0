"""Changes of both models' outputs under an attack on one of them (Liang et al., 2020 and 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

MIN_DEVIATION = 1e-12
"""An output that moved less has no direction."""

EIGENVALUE_CUTOFF = 1e-10
"""Eigenvalues of a matrix of second moments below this share of the largest count as zero."""


class DirectionMasks(NamedTuple):
    """Which of the `Deviations` have a direction at each sample, ``(N,)`` bool each."""

    surrogate: Tensor
    victim: Tensor
    white_box: Tensor


@dataclass(frozen=True, slots=True)
class Deviations:
    """What attacks on a model 1 do to a model 2; float64.

    Args:
        own: ``(N, d1)``: what the attack on 1 does to 1.
        other: ``(N, d2)``: what the attack on 1 does to 2.
        white_box: ``(N, d2)``: what the attack on 2 does to 2.
    """

    surrogate: Tensor
    victim: Tensor
    white_box: Tensor

    def direction_masks(self) -> DirectionMasks:
        """Where each of the three has a direction."""
        return DirectionMasks(
            *(
                one.norm(dim=1) >= MIN_DEVIATION
                for one in (self.surrogate, self.victim, self.white_box)
            )
        )

    def at_samples(self, rows: Tensor) -> Deviations:
        """Those of some samples."""
        return Deviations(self.surrogate[rows], self.victim[rows], self.white_box[rows])


def alpha_1(found: Deviations) -> Tensor:
    """Adversarial loss transferability, ``(N,)``: how far 2 moves, as a share of how far its own attack moves it.

    Above 1 where the white-box attack is not the strongest one; not finite where it does not move 2.
    """
    shares: Tensor = found.victim.norm(dim=1) / found.white_box.norm(dim=1)
    return shares


def alpha_2(found: Deviations, *, weights: Tensor | None = None) -> float:
    """How much the two models' moves keep to one linear map: ``||E[w u1 u2^T]||_F`` of unit deviations, from 0 to 1.

    With `alpha_1` as weights ``(N,)`` this is the joint measure, alpha_1 * alpha_2 of Liang et al. (2021): the mean is
    taken over the product, and the norm after the mean. Of a model with itself it is not 1, since its own moves need
    not all have one direction.
    """
    first, second = (one / one.norm(dim=1, keepdim=True) for one in (found.surrogate, found.victim))
    weighted = first if weights is None else first * weights.unsqueeze(1)
    return float((weighted.T @ second / len(first)).norm())


def alpha_2_squared_unbiased(found: Deviations) -> float:
    """The square of alpha_2 without the pairs of a sample with itself, which add 1 / N to it; may be below 0."""
    count = len(found.surrogate)
    return (count * alpha_2(found) ** 2 - 1) / (count - 1)


@dataclass(frozen=True, slots=True)
class DeviationMap:
    """tau_2, and the map A ``(d2, d1)`` from moves of model 1 to moves of model 2 that it is measured with."""

    tau: float
    matrix: Tensor


def tau_2(own: Tensor, other: Tensor) -> DeviationMap | None:
    """Adversarial transferability by deviation (Liang et al., 2020, definition 3).

    ``<2 D2 - A D1, A D1> / ||D2||^2`` over the samples, for deviations D1 ``(N, d1)`` and D2 ``(N, d2)`` under the
    attack on 1, with ``A = proj(E[D2 D1^T] E[D1 D1^T]^+, r)``: the least-squares map, scaled to a spectral norm of at
    most ``r = ||D2|| / ||D1||``. Where it is not scaled, tau_2 is the share of D2 that A explains. None where one of
    the models does not move at any sample.

    A is fitted to the samples it is measured on, so that moves that have nothing to do with each other give about
    d1 / N and not 0: read it beside the number of outputs of model 1 and of samples.
    """
    lengths = [float(one.square().sum(1).mean().sqrt()) for one in (own, other)]
    if min(lengths) < MIN_DEVIATION:
        return None
    best = second_moment(other, own) @ moment_pseudoinverse(second_moment(own, own))
    fitted = limit_spectral_norm(best, lengths[1] / lengths[0])
    carried = own @ fitted.T
    tau = ((2 * other - carried) * carried).sum(1).mean() / lengths[1] ** 2
    return DeviationMap(float(tau), fitted)


def second_moment(first: Tensor, second: Tensor) -> Tensor:
    """E[a b^T] of rows ``(N, d1)`` and ``(N, d2)``: ``(d1, d2)``."""
    return first.T @ second / len(first)


def moment_pseudoinverse(moments: Tensor) -> Tensor:
    """The Moore-Penrose inverse of a matrix of second moments."""
    found: Tensor = torch.linalg.pinv(moments, rtol=EIGENVALUE_CUTOFF, hermitian=True)
    return found


def limit_spectral_norm(matrix: Tensor, radius: float) -> Tensor:
    """The matrix, scaled down to this spectral norm where its own is larger."""
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    return matrix if norm <= radius else matrix * (radius / norm)
