"""Calibration errors of predicted probabilities. All in float64."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Bins:
    """Images binned by confidence: number, mean confidence and accuracy of each bin, ``(B,)``."""

    counts: Tensor
    confidences: Tensor
    accuracies: Tensor

    @property
    def weights(self) -> Tensor:
        """The share of the images in each bin."""
        return self.counts / self.counts.sum()

    def expected_error(self) -> float:
        """Return the expected calibration error (Guo et al., 2017, equation 3)."""
        gaps = (self.confidences - self.accuracies).abs()
        return float((self.weights * gaps).sum())

    def debiased_squared_error(self) -> float:
        """Return the debiased squared l2 error (Kumar et al., 2019, definition 5.1)."""
        squares = (self.confidences - self.accuracies).square()
        # The variance of a bin's accuracy, by which the square of the gap is too large on average.
        variances = self.accuracies * (1 - self.accuracies) / (self.counts - 1)
        return float((self.weights * (squares - variances)).sum())


def bins_of_equal_mass(confidences: Tensor, correct: Tensor, *, bins: int) -> Bins:
    """Return the images in at most `bins` bins of equally many by confidence, two or more in each.

    Equal confidences are never parted, so that the bins do not depend on the images' order.

    Args:
        confidences: ``(N,)`` float64.
        correct: Which images are predicted correctly, ``(N,)`` bool.
        bins: The number of bins.

    Raises:
        ValueError: There are fewer than two images.
    """
    count = len(confidences)
    if count < 2:
        raise ValueError(f"found {count} images; expected two or more; enlarge the test part")
    order = confidences.argsort(stable=True)
    sorted_confidences = confidences[order]
    cuts = [0]
    for number in range(1, bins):
        cut = number * count // bins
        while 0 < cut < count and sorted_confidences[cut] == sorted_confidences[cut - 1]:
            cut += 1
        if cut - cuts[-1] >= 2 and count - cut >= 2:
            cuts.append(cut)
    cuts.append(count)
    sizes = [after - before for before, after in pairwise(cuts)]
    binned_confidences = torch.split(sorted_confidences, sizes)
    binned_correct = torch.split(correct[order].double(), sizes)
    return Bins(
        torch.tensor(sizes, dtype=torch.float64),
        torch.stack([values.mean() for values in binned_confidences]),
        torch.stack([values.mean() for values in binned_correct]),
    )


def brier_scores(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the squared distance of each row from its one-hot label, ``(N,)``."""
    one_hot = torch.nn.functional.one_hot(labels, probabilities.shape[1])
    return (probabilities - one_hot).square().sum(1)
