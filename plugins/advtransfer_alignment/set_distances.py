"""Distances between two sets of feature vectors, with bootstrap intervals over their images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

INTERVAL_SHARE = 0.95
Distance: TypeAlias = Callable[[Tensor, Tensor], float]
"""A distance from the weights of the first and of the second set's images, ``(m,)`` and ``(n,)`` float64."""


class DistanceEstimate(NamedTuple):
    """A distance, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def median_width(first: Tensor, second: Tensor) -> float:
    """Return the median distance between two different rows of both sets, ``(m, d)`` and ``(n, d)``.

    It is the width of the kernel that Gretton et al. (2012, section 8) take. At least the smallest positive number,
    for sets whose rows are equal.
    """
    distances = torch.pdist(torch.cat([first, second]).double())
    return max(distances.median().item(), torch.finfo(torch.float64).tiny)


def mmd_distance(first: Tensor, second: Tensor, width: float) -> Distance:
    """Return the unbiased squared MMD of rows ``(m, d)`` and ``(n, d)`` (Gretton et al., 2012, equation 3).

    The kernel is ``exp(-|x - y|^2 / (2 width^2))``. With weights, an image that a bootstrap draws twice is no pair
    with itself: pairs are those of different images, ``sum_{i != j} w_i w_j k_ij / sum_{i != j} w_i w_j``.
    """
    within_first = _kernel(first, first, width)
    within_second = _kernel(second, second, width)
    across = _kernel(first, second, width)

    def distance(weights: Tensor, other_weights: Tensor) -> float:
        own = _mean_of_pairs(within_first, weights) + _mean_of_pairs(within_second, other_weights)
        total = weights.sum() * other_weights.sum()
        return float(own - 2 * (weights @ across @ other_weights) / total)

    return distance


def _kernel(first: Tensor, second: Tensor, width: float) -> Tensor:
    distances = torch.cdist(first.double(), second.double())
    return torch.exp(-(distances**2) / (2 * width**2))


def _mean_of_pairs(kernel: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of a kernel over pairs of different rows, weighted."""
    squares = (weights**2).sum()
    total = weights @ kernel @ weights - (weights**2 * kernel.diagonal()).sum()
    return total / (weights.sum() ** 2 - squares)


def frechet_distance(first: Tensor, second: Tensor) -> Distance:
    """Return the Fréchet distance of normal distributions with the moments of both sets (Heusel et al., 2017).

    ``|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))``, with unbiased covariances S. The trace of the root is the
    sum of the singular values of ``X_1 X_2^T``, with X the centred rows over the root of their number less 1: its
    squares are the eigenvalues of ``S_1 S_2`` that are not 0. So no root of a singular matrix is taken.
    """
    rows, other_rows = first.double(), second.double()

    def distance(weights: Tensor, other_weights: Tensor) -> float:
        mean, scaled = _moments(rows, weights)
        other_mean, other_scaled = _moments(other_rows, other_weights)
        root_trace = torch.linalg.svdvals(scaled @ other_scaled.T).sum()
        spread = (scaled**2).sum() + (other_scaled**2).sum() - 2 * root_trace
        return float(((mean - other_mean) ** 2).sum() + spread)

    return distance


def _moments(rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean ``(d,)``, and rows ``(N, d)`` whose Gram matrix is the covariance."""
    total = weights.sum()
    mean = weights @ rows / total
    return mean, (weights / (total - 1)).sqrt()[:, None] * (rows - mean)


def bootstrap_interval(
    distance: Distance, counts: tuple[int, int], *, resamples: int, generator: torch.Generator
) -> DistanceEstimate:
    """Return a distance with its basic bootstrap interval: images of each set are drawn anew.

    The interval is ``2 d - q`` for the quantiles q of the resampled distances (Davison and Hinkley, 1997, equation
    5.6), since a resample of few images is farther from another set than the images themselves are.

    Args:
        distance: The distance, from weights.
        counts: Images of each set.
        resamples: How often both are drawn.
        generator: Source of the draws, on the CPU.
    """
    ones = [torch.ones(count, dtype=torch.float64) for count in counts]
    value = distance(*ones)
    drawn: list[float] = []
    for _ in range(resamples):
        weights = [_draw_weights(count, generator) for count in counts]
        drawn.append(distance(*weights))
    tail = (1 - INTERVAL_SHARE) / 2
    ends = torch.tensor(drawn, dtype=torch.float64).quantile(
        torch.tensor([tail, 1 - tail], dtype=torch.float64)
    )
    low, high = (2 * value - ends).flip(0).tolist()
    return DistanceEstimate(value, low, high)


def _draw_weights(count: int, generator: torch.Generator) -> Tensor:
    """Return how often each of some images is drawn, ``(count,)``; at least two of them are.

    One image alone has no pairs. Of few images such a draw is frequent; it is made again.
    """
    while True:
        drawn = torch.randint(count, (count,), generator=generator)
        if count < 2 or bool((drawn != drawn[0]).any()):
            return torch.bincount(drawn, minlength=count).double()
