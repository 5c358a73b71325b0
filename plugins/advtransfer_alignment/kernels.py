"""Similarity of two representations: centred kernel alignment from unbiased HSIC. All in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer_alignment.options import Kernel

FEWEST_SAMPLES = 4
"""Unbiased HSIC is not defined for fewer samples."""


@dataclass(slots=True)
class HsicSums:
    """HSIC of two representations with each other and with themselves, summed over batches.

    The ratio is taken after the sums (Nguyen, Raghu and Kornblith, 2021, equation 2): each batch's
    HSIC is unbiased, which the mean of ratios would not be.
    """

    cross: float = 0.0
    first: float = 0.0
    second: float = 0.0

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add a batch's Gram matrices ``(n, n)``."""
        self.cross += unbiased_hsic(first, second)
        self.first += unbiased_hsic(first, first)
        self.second += unbiased_hsic(second, second)

    def alignment(self) -> float | None:
        """Return CKA, at most about 1; None where a representation does not vary."""
        if self.first <= 0 or self.second <= 0:
            return None
        return self.cross / math.sqrt(self.first * self.second)


def unbiased_hsic(first: Tensor, second: Tensor) -> float:
    """Return the unbiased estimate of HSIC from two Gram matrices ``(n, n)``.

    Song et al. (2012), equation 5; it may be negative.

    Raises:
        ValueError: There are fewer than four samples.
    """
    count = len(first)
    if count < FEWEST_SAMPLES:
        raise ValueError(
            f"found {count} samples; expected {FEWEST_SAMPLES} or more; take a larger batch"
        )
    off_first = first - first.diag().diag()
    off_second = second - second.diag().diag()
    row_sums = off_first.sum(0)
    other_row_sums = off_second.sum(0)
    trace = (off_first * off_second).sum()
    total = row_sums.sum() * other_row_sums.sum() / ((count - 1) * (count - 2))
    cross = 2 * (row_sums @ other_row_sums) / (count - 2)
    return float((trace + total - cross) / (count * (count - 3)))


def gram_matrix(activations: Tensor, kernel: Kernel, *, width: float) -> Tensor:
    """Return the Gram matrix ``(n, n)`` of activations ``(n, D)``, up to what HSIC does not see.

    Args:
        activations: One row per sample.
        kernel: ``linear``: inner products; ``rbf``: ``exp(-d^2 / (2 sigma^2)) - 1`` of distances
            d, so that activations that do not vary give exactly 0.
        width: Of ``rbf``: sigma as a multiple of the median distance between two different samples.
    """
    # Centred first: HSIC does not change, and large means would cost digits.
    centred = activations.double() - activations.double().mean(0)
    if kernel == "linear":
        return centred @ centred.T
    distances = torch.cdist(centred, centred)
    count = len(distances)
    pairs = distances[~torch.eye(count, dtype=torch.bool, device=distances.device)]
    sigma = width * pairs.median()
    # Where most samples are equal, sigma is 0, and the kernel tells equal samples from others.
    return torch.expm1(-(distances / sigma.clamp_min(torch.finfo(sigma.dtype).tiny)).square() / 2)
