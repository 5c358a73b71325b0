"""Intervals of shares, and of differences of shares, over trainings, subset seeds and test images at once.

A board is an array ``(trainings, seeds, images)``: 1 where a trial has an image right, 0 where not, or
the difference of two rows, from -1 to 1; a trial that is missing is NaN. Trainings are its units, or the
seeds where there is one training. The mean m of k units has three sources of variance:

    units    A, the variance of the units' means over k, known to k - 1 degrees of freedom
    images   B, the variance over the images of their means over the units
    residual E, of units and images together, which is part of A and of B

and the half-width h on either side is

    h^2 = max(t_{k-1}^2 A - z^2 E, 0) + d^2

with d the distance to the end of a score interval whose variance is B. Where A is not above E, the images
alone are left; where it is, the residual is not counted twice. Taking E out of A before it is multiplied
by t^2 covered .91 of the nominal .95 with three units, Satterthwaite's approximation .92 (and .5 for
shares near 1, where all outcomes are equal); this one covers .95 or more for normal values of any
variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import inf, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

PRIOR_EVENTS = 1.0
"""Events by which `_effective_images` is drawn to the number of images: few tell little of a variance."""
BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class BoardVariances:
    """The variances of a board's mean; see the module for the symbols.

    Attributes:
        mean: Mean over units and images.
        units: A.
        unit_count: k, the trainings, or the seeds where there is one training.
        seeds: Variance of the subset seeds' means over all trainings, beyond what is part of A; 0 where
            each training has seeds of its own, or where there is one training.
        seed_count: The subset seeds behind `seeds`.
        images: B.
        residual: E.
        image_count: Number of images.
    """

    mean: float
    units: float
    unit_count: int
    seeds: float
    seed_count: int
    images: float
    residual: float
    image_count: int

    def replicate_part(self, confidence: float, *, unreplicated: bool = False) -> float:
        """Return ``max(t^2 A - z^2 E, 0)``: the squared half-width beyond what the images explain.

        Trainings and seeds are joined by Satterthwaite's degrees of freedom (1946), and count no less
        than either alone.

        Args:
            confidence: Such as .95.
            unreplicated: The other side of a difference has one training. Its variance between trainings is
                unknown and taken to be that of the units (equal variances, as a pooled t-interval has them).
        """
        if self.unit_count < 2:
            return 0.0
        z = _normal_quantile(confidence)
        units = self.units * (1 + self.unit_count) if unreplicated else self.units
        part = _student_quantile(self.unit_count - 1, confidence) ** 2 * units
        if self.seeds:
            total = units + self.seeds
            spread = units**2 / (self.unit_count - 1) + self.seeds**2 / (self.seed_count - 1)
            joined = _student_quantile(total**2 / spread, confidence) ** 2 * total
            alone = _student_quantile(self.seed_count - 1, confidence) ** 2 * self.seeds
            part = max(part, joined, alone)
        return max(part - z * z * self.residual, 0.0)


def board_variances(board: FloatArray) -> BoardVariances:
    """Return the variances of a board ``(trainings, seeds, images)``; NaN for missing trials."""
    import numpy as np

    present: NDArray[np.bool_] = np.asarray(~np.isnan(board).any(axis=2))
    is_whole = bool(present.all())
    if not is_whole:
        trainings = np.asarray(present.any(axis=1))
        board, present = board[trainings], present[trainings]
    if len(board) == 1:
        units = board[0][present[0]]
    elif is_whole:
        units = board.mean(axis=1)
    else:
        units = np.stack(
            [rows[kept].mean(axis=0) for rows, kept in zip(board, present, strict=True)]
        )
    unit_count, image_count = units.shape
    unit_means, image_means = units.mean(axis=1), units.mean(axis=0)
    mean = float(image_means.mean())
    residuals = units - unit_means[:, None] - image_means + mean
    shared = board if is_whole else board[:, present.all(axis=0)]
    seeds, seed_count = _seed_variance(shared.mean(axis=2))
    return BoardVariances(
        mean,
        units=_variance_of_mean(unit_means),
        unit_count=unit_count,
        seeds=seeds,
        seed_count=seed_count,
        images=_variance_of_mean(image_means),
        residual=_residual_variance(residuals),
        image_count=image_count,
    )


def share_interval(board: FloatArray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the mean of a board of shares, within 0 and 1.

    The images' part is the interval of Agresti and Coull (1998), which covers where Wilson's falls to
    .92: at a share of .99 of 100 images.
    """
    variances = board_variances(board)
    mean = variances.mean
    images = _effective_images(variances, mean * (1 - mean))
    z = _normal_quantile(confidence)
    centre = (mean * images + z * z / 2) / (images + z * z)
    half = z * sqrt(centre * (1 - centre) / (images + z * z))
    replicates = _score_ends(mean, variances.replicate_part(confidence))
    low, high = _joined_ends(mean, replicates, (centre - half, centre + half))
    return max(low, 0.0), min(high, 1.0)


@dataclass(frozen=True, slots=True)
class BoardDifference:
    """What a board of paired differences says of its mean, in a few numbers.

    Attributes:
        variances: Mean and variances of the board.
        changed: Mean absolute difference of a trial on an image.
        unreplicated: One side has one training and the other several.
    """

    variances: BoardVariances
    changed: float
    unreplicated: bool

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of the mean, see `difference_interval`."""
        variances, changed = self.variances, self.changed
        images = _effective_images(variances, changed - variances.mean**2)
        gained = (changed + variances.mean) / 2 * images
        lost = (changed - variances.mean) / 2 * images
        z = _normal_quantile(confidence)
        image_ends = (
            _paired_lower_end(gained, lost, images, z),
            -_paired_lower_end(lost, gained, images, z),
        )
        half = sqrt(variances.replicate_part(confidence, unreplicated=self.unreplicated))
        replicate_ends = (variances.mean - half, variances.mean + half)
        low, high = _joined_ends(variances.mean, replicate_ends, image_ends)
        return max(low, -1.0), min(high, 1.0)


def board_difference(board: FloatArray, *, unreplicated: bool = False) -> BoardDifference:
    """Return the numbers behind interval and p value of a board of paired differences.

    Args:
        board: ``(trainings, seeds, images)``.
        unreplicated: One side has one training and the other several.
    """
    import numpy as np

    variances = board_variances(board)
    seen = board[~np.isnan(board).any(axis=2)]
    # Of the mean itself: a board of unequally many seeds weighs its trials otherwise than its units.
    changed = max(float(np.abs(seen).mean()), abs(variances.mean))
    return BoardDifference(variances, changed, unreplicated)


def difference_interval(
    board: FloatArray, *, confidence: float = 0.95, unreplicated: bool = False
) -> tuple[float, float]:
    """Return the interval of the mean of a board of paired differences, within -1 and 1.

    The images' part is Tango's score interval for paired shares (1998), which has a width where no image or
    few differ.

    Args:
        board: ``(trainings, seeds, images)``.
        confidence: Such as .95.
        unreplicated: One side has one training and the other several.
    """
    return board_difference(board, unreplicated=unreplicated).interval(confidence)


def _joined_ends(
    mean: float, replicate_ends: tuple[float, float], image_ends: tuple[float, float]
) -> tuple[float, float]:
    """Return the mean plus and minus h: the distances to the two ends on a side, in quadrature."""
    low, high = (
        sqrt((replicates - mean) ** 2 + (images - mean) ** 2)
        for replicates, images in zip(replicate_ends, image_ends, strict=True)
    )
    return mean - low, mean + high


def _score_ends(mean: float, variance: float) -> tuple[float, float]:
    """Return the shares p with ``(mean - p)^2 = variance p (1 - p) / (mean (1 - mean))`` (Wilson, 1927).

    The variance between seeds or trainings is taken to fall towards 0 and 1 as that of a share does: few
    replicates near an end are skewed, and seem to agree where they are too good.
    """
    if mean in (0.0, 1.0):
        return mean, mean
    ratio = variance / (mean * (1 - mean))
    half = sqrt(variance + ratio * ratio / 4)
    return (mean + ratio / 2 - half) / (1 + ratio), (mean + ratio / 2 + half) / (1 + ratio)


def _effective_images(variances: BoardVariances, outcome_variance: float) -> float:
    """Return the number of independent images with the variance B of a mean of k units.

    It is the number of images where all units agree on each, and up to k times as many where the units'
    outcomes on an image are independent. `outcome_variance` is that of a single outcome.
    """
    count = variances.image_count
    events = count * outcome_variance
    image_events = count * (count - 1) * variances.images
    return count * (events + PRIOR_EVENTS) / (image_events + PRIOR_EVENTS)


def _paired_lower_end(gained: float, lost: float, images: float, z: float) -> float:
    """Return the lower end of Tango's interval for ``(gained - lost) / images`` (1998, equation 3).

    The share of images that are lost is estimated under each difference (his equation 4). The end is found by
    bisection.
    """
    low, high = -1.0, (gained - lost) / images
    for _ in range(BISECTIONS):
        difference = (low + high) / 2
        linear = (2 * images - gained + lost) * difference - gained - lost
        constant = -lost * difference * (1 - difference)
        root = sqrt(max(linear**2 - 8 * images * constant, 0.0))
        lost_share = (root - linear) / (4 * images)
        variance = images * (2 * lost_share + difference * (1 - difference))
        excess = gained - lost - images * difference
        score = excess / sqrt(variance) if variance > 0 else inf
        if score > z:
            low = difference
        else:
            high = difference
    return low


def _seed_variance(means: FloatArray) -> tuple[float, int]:
    """Return the variance of the seeds' mean beyond that of trainings and seeds together, and their number.

    Args:
        means: ``(trainings, seeds)``, for the seeds that all trainings have.
    """
    training_count, seed_count = means.shape
    if training_count < 2 or seed_count < 2:
        return 0.0, seed_count
    seed_means = means.mean(axis=0)
    residuals = means - means.mean(axis=1)[:, None] - seed_means + means.mean()
    excess = _variance_of_mean(seed_means) - _residual_variance(residuals)
    return max(excess, 0.0), seed_count


def _variance_of_mean(values: FloatArray) -> float:
    """Return the variance of the mean of independent values, 0 for one value."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def _residual_variance(residuals: FloatArray) -> float:
    """Return the variance of the mean that the residuals ``(rows, columns)`` of two ways leave."""
    rows, columns = residuals.shape
    if rows < 2 or columns < 2:
        return 0.0
    squares = float((residuals**2).sum())
    degrees = int(rows - 1) * int(columns - 1)
    return squares / (degrees * int(rows) * int(columns))


@cache
def _normal_quantile(confidence: float) -> float:
    return float(NormalDist().inv_cdf((1 + confidence) / 2))


def _student_quantile(degrees: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))
