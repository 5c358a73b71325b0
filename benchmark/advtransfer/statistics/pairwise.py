"""Differences of all pairs of rows at once: their means and variances.

They are those of `share_intervals`, without a board of differences for each pair: for rows X and Y the sum of
(X - Y)^2 is that of X^2 and Y^2 less twice that of XY, and one matrix product has the last for all pairs. Sums over
outcomes of 0 and 1 are whole numbers, so that they are exact.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.statistics.share_intervals import (
    BoardVariances,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

CHUNK_SIZE = 2048
"""Test images whose outcomes are held as float64 at once."""


@dataclass(frozen=True, slots=True)
class PairDifferences:
    """Means and variances of paired differences; the arrays have one shape, the pairs'.

    Attributes:
        mean: Mean difference over units (and images).
        changed: Mean absolute difference of a trial on an image; 0 without images.
        units: Variance of the mean between units, see `BoardVariances`.
        seeds: Variance of the mean between subset seeds that all trainings share.
        images: Variance of the mean between images, 0 without images.
        residual: Variance of the mean that units and images leave.
        unit_count: Trainings, or seeds where there is one training.
        seed_count: Subset seeds behind `seeds`.
        image_count: Test images, 0 if the pairs have no outcomes of images.
        unreplicated: One side has one training and the other several.
    """

    mean: FloatArray
    changed: FloatArray
    units: FloatArray
    seeds: FloatArray
    images: FloatArray
    residual: FloatArray
    unit_count: int
    seed_count: int
    image_count: int
    unreplicated: bool = False

    def at(self, chosen: object) -> PairDifferences:
        """Return the pairs that an index of numpy chooses."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = ("mean", "changed", "units", "seeds", "images", "residual")
        return PairDifferences(**values | {name: values[name][chosen] for name in arrays})

    def pooled(self, *, difference: float = 0.0) -> BoardVariances:
        """Return the mean variances of the pairs, as those of one pair with this difference."""
        return BoardVariances(
            difference,
            units=float(self.units.mean()),
            unit_count=self.unit_count,
            seeds=float(self.seeds.mean()),
            seed_count=self.seed_count,
            images=float(self.images.mean()),
            residual=float(self.residual.mean()),
            image_count=self.image_count,
        )


def value_differences(
    first: FloatArray,
    second: FloatArray,
    keys: Sequence[tuple[Hashable, Hashable]],
    *,
    unreplicated: bool = False,
) -> PairDifferences:
    """Return the differences of all pairs of rows with one value a trial.

    Args:
        first: Values ``(..., a, trials)``.
        second: Values ``(..., b, trials)`` of the same trials.
        keys: The training and the subset seed of each trial.
        unreplicated: One side has one training and the other several.

    Returns:
        Arrays ``(..., a, b)``.
    """
    import numpy as np

    weights = unit_weights(keys)
    gaps = (first @ weights.T)[..., :, None, :] - (second @ weights.T)[..., None, :, :]
    mean, units = gaps.mean(axis=-1), _variance_of_mean(gaps)
    # Equal values have no variance, which rounding of their mean may hide.
    units[gaps.max(axis=-1) == gaps.min(axis=-1)] = 0.0
    zero = np.zeros_like(mean)
    seed_count = len({seed for _, seed in keys})
    counts = (len(weights), seed_count, 0)
    return PairDifferences(mean, zero, units, zero, zero, zero, *counts, unreplicated)


def image_differences(
    first: NDArray[np.generic],
    second: NDArray[np.generic],
    keys: Sequence[tuple[Hashable, Hashable]],
    *,
    unreplicated: bool = False,
) -> PairDifferences:
    """Return the differences of all pairs of rows with a share for each test image.

    Args:
        first: Shares ``(..., a, trials, images)``.
        second: Shares ``(..., b, trials, images)`` of the same trials.
        keys: The training and the subset seed of each trial.
        unreplicated: One side has one training and the other several.

    Returns:
        Arrays ``(..., a, b)``; they agree with `board_variances` of each pair's board.
    """
    import numpy as np

    weights = unit_weights(keys)
    unit_count, image_count = len(weights), first.shape[-1]
    sums = _SquareSums(first, second, weights)
    means = [each / image_count for each in sums.trial_sums]
    trial_gaps = means[0][..., :, None, :] - means[1][..., None, :, :]
    # Of the units of each row, so that two rows with equal means differ by exactly 0.
    unit_gaps = (means[0] @ weights.T)[..., :, None, :] - (means[1] @ weights.T)[..., None, :, :]
    mean = unit_gaps.mean(axis=-1)
    images = np.maximum(sums.over_images - image_count * mean**2, 0.0)
    residual = np.zeros_like(mean)
    if unit_count > 1 and image_count > 1:
        squares = sums.over_units - image_count * (unit_gaps**2).sum(axis=-1)
        squares -= unit_count * sums.over_images - unit_count * image_count * mean**2
        degrees = (unit_count - 1) * (image_count - 1)
        residual = np.maximum(squares, 0.0) / (degrees * unit_count * image_count)
    seeds, seed_count = _seed_variances(trial_gaps, keys)
    return PairDifferences(
        mean,
        np.maximum(sums.absolute / (len(keys) * image_count), np.abs(mean)),
        _variance_of_mean(unit_gaps),
        seeds,
        images / (image_count * max(image_count - 1, 1)),
        residual,
        unit_count,
        seed_count,
        image_count,
        unreplicated,
    )


def unit_weights(keys: Sequence[tuple[Hashable, Hashable]]) -> FloatArray:
    """Return ``(units, trials)``, which makes means of units of the values of trials.

    Units are the trainings, each the mean of its seeds, or the seeds where there is one training.
    """
    import numpy as np

    trainings = list(dict.fromkeys(training for training, _ in keys))
    if len(trainings) == 1:
        return np.eye(len(keys))
    weights = np.array([[float(own == each) for own, _ in keys] for each in trainings])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


class _SquareSums:
    """Sums of the squared differences of all pairs, taken a chunk of images at a time.

    Attributes:
        trial_sums: Sums over images ``(..., rows, trials)`` of the first and of the second rows.
        absolute: Sum of the absolute differences over trials and images ``(..., a, b)``.
        over_units: Sum of squares over units and images.
        over_images: Sum of squares over images of the means over units.
    """

    def __init__(
        self, first: NDArray[np.generic], second: NDArray[np.generic], weights: FloatArray
    ) -> None:
        import numpy as np

        sides = (first, second)
        pairs = (*first.shape[:-2], second.shape[-3])
        self.trial_sums = [np.zeros(side.shape[:-1]) for side in sides]
        self.absolute, self.over_units, self.over_images = (np.zeros(pairs) for _ in range(3))
        is_binary = all(bool(np.isin(side, (0, 1)).all()) for side in sides)
        for start in range(0, first.shape[-1], CHUNK_SIZE):
            chunks = [
                side[..., start : start + CHUNK_SIZE].astype(np.float64, copy=False)
                for side in sides
            ]
            for total, chunk in zip(self.trial_sums, chunks, strict=True):
                total += chunk.sum(axis=-1)
            units = [np.matmul(weights, chunk) for chunk in chunks]
            self.over_units += _square_sums(*units)
            self.over_images += _square_sums(*(unit.mean(axis=-2, keepdims=True) for unit in units))
            # Outcomes of 0 and 1 differ by 1 or not at all.
            sums_of = _square_sums if is_binary else _absolute_sums
            self.absolute += sums_of(*chunks)


def _square_sums(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the sum of squared differences ``(..., a, b)`` of rows ``(..., a, trials, images)``."""
    import numpy as np

    flat = [side.reshape(*side.shape[:-2], -1) for side in (first, second)]
    squares = [(side**2).sum(axis=-1) for side in flat]
    products = flat[0] @ np.swapaxes(flat[1], -1, -2)
    return np.asarray(squares[0][..., :, None] + squares[1][..., None, :] - 2 * products)


def _absolute_sums(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the sum of absolute differences, in which rows have no matrix product."""
    import numpy as np

    rows = [
        np.abs(first[..., place : place + 1, :, :] - second).sum(axis=(-2, -1))
        for place in range(first.shape[-3])
    ]
    return np.stack(rows, axis=-2)


def _seed_variances(
    gaps: FloatArray, keys: Sequence[tuple[Hashable, Hashable]]
) -> tuple[FloatArray, int]:
    """Return the seeds' variance beyond that of trainings and seeds, and the seeds of all trainings.

    Args:
        gaps: Mean differences ``(..., trials)``.
        keys: The training and the subset seed of each trial.
    """
    import numpy as np

    trainings = list(dict.fromkeys(training for training, _ in keys))
    seeds = list(dict.fromkeys(seed for _, seed in keys))
    places = {key: place for place, key in enumerate(keys)}
    shared = [seed for seed in seeds if all((each, seed) in places for each in trainings)]
    if len(trainings) < 2 or len(shared) < 2:
        return np.zeros(gaps.shape[:-1]), len(shared)
    order = [[places[each, seed] for seed in shared] for each in trainings]
    means = gaps[..., order]
    seed_means = means.mean(axis=-2)
    rest = means - means.mean(axis=-1, keepdims=True) - seed_means[..., None, :]
    rest = rest + means.mean(axis=(-2, -1), keepdims=True)
    degrees = (len(trainings) - 1) * (len(shared) - 1)
    noise = (rest**2).sum(axis=(-2, -1)) / (degrees * len(trainings) * len(shared))
    return np.maximum(_variance_of_mean(seed_means) - noise, 0.0), len(shared)


def _variance_of_mean(values: FloatArray) -> FloatArray:
    """Return the variance of the mean over the last axis, 0 for one value."""
    import numpy as np

    count = values.shape[-1]
    if count < 2:
        return np.zeros(values.shape[:-1])
    return np.asarray(values.var(axis=-1, ddof=1) / count)
