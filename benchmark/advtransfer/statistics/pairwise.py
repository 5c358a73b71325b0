"""Differences of all pairs of rows at once: their means, variances and p values.

They are those of `share_intervals`, without a board of differences for each pair: for rows X and Y the sum of
(X - Y)^2 is that of X^2 and Y^2 less twice that of XY, and one matrix product has the last for all pairs. Sums over
outcomes of 0 and 1 are whole numbers, so that they are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.statistics.share_intervals import (
    PRIOR_EVENTS,
    BoardDifference,
    BoardVariances,
    board_difference,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

CHUNK_SIZE = 2048
"""Test images whose outcomes are held as float64 at once."""
SMALLEST_P_VALUE = 1e-12
"""Smaller ones are all this: no table has as many pairs as would make it large."""
STEPS = 100
ROOT_TOLERANCE = 1e-10
QUANTILE_NODES = 2048


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


def difference_p_value(board: FloatArray, *, unreplicated: bool = False) -> float:
    """Return the p value of a difference of 0: 1 - the confidence at which `difference_interval` touches 0."""
    return board_p_values([board_difference(board, unreplicated=unreplicated)])[0]


def board_p_values(boards: Sequence[BoardDifference]) -> list[float]:
    """Return `difference_p_value` of each of some boards, those of equal counts at once."""
    p_values = [1.0] * len(boards)
    by_design: dict[tuple[int, int, int, bool], list[int]] = defaultdict(list)
    for place, board in enumerate(boards):
        each = board.variances
        counts = (each.unit_count, each.seed_count, each.image_count)
        by_design[(*counts, board.unreplicated)].append(place)
    for design, places in by_design.items():
        pairs = _joined_boards([boards[place] for place in places], design)
        for place, p_value in zip(places, difference_p_values(pairs).tolist(), strict=True):
            p_values[place] = p_value
    return p_values


def _joined_boards(
    boards: Sequence[BoardDifference], design: tuple[int, int, int, bool]
) -> PairDifferences:
    import numpy as np

    variances = [board.variances for board in boards]
    return PairDifferences(
        np.array([each.mean for each in variances]),
        np.array([board.changed for board in boards]),
        np.array([each.units for each in variances]),
        np.array([each.seeds for each in variances]),
        np.array([each.images for each in variances]),
        np.array([each.residual for each in variances]),
        *design,
    )


def difference_p_values(pairs: PairDifferences, *, ceiling: float = 1.0) -> FloatArray:
    """Return the p value of a difference of 0 of each pair.

    With images it is 1 - the confidence at which `difference_interval` touches 0; without, that of a t-test over
    the units, NaN for one unit or units that all have the same difference.

    Args:
        pairs: Pairs in any shape.
        ceiling: Some p values of at least this one may be returned as 1, which saves their time.
    """
    import numpy as np

    if not pairs.image_count:
        return _t_test_p_values(pairs)
    p_values = np.ones(pairs.mean.shape)
    z = -_normal_quantile(ceiling / 2)
    end = np.zeros(pairs.mean.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        images_alone = _tango_score(end, pairs)
        between = _replicate_parts(pairs, np.full(end.shape, z))
    active = (pairs.mean != 0) & (images_alone > z) & (between < pairs.mean**2)
    if active.any():
        p_values[active] = _touching_p_values(pairs.at(active))
    return p_values


def _t_test_p_values(pairs: PairDifferences) -> FloatArray:
    import numpy as np
    from scipy.special import stdtr

    p_values = np.full(pairs.mean.shape, np.nan)
    if pairs.unit_count > 1:
        spread = pairs.units > 0
        units = pairs.units[spread] * (1 + pairs.unit_count if pairs.unreplicated else 1)
        statistics = np.abs(pairs.mean[spread]) / np.sqrt(units)
        p_values[spread] = 2 * stdtr(pairs.unit_count - 1, -statistics)
    return p_values


def _touching_p_values(pairs: PairDifferences) -> FloatArray:
    """Return the p values at which the intervals touch 0, for pairs in one dimension.

    The unknown is Tango's end L of the images: its z is explicit, and with it the confidence and all that the
    interval adds. So h^2(L) = mean^2 is one equation in L from 0 to the mean, in which h^2 falls. It is solved by the
    Illinois rule, with a bisection in every third step.
    """
    import numpy as np

    mean = np.abs(pairs.mean)
    low, high = np.zeros_like(mean), mean.copy()
    low_value, high_value = _excess(low, pairs), np.full(mean.shape, -1.0)
    roots = np.where(low_value <= 0, low, np.nan)
    for step in range(STEPS):
        (active,) = np.nonzero(np.isnan(roots))
        if not active.size:
            break
        a, b = low[active], high[active]
        value_a, value_b = low_value[active], high_value[active]
        is_bisection = step % 3 == 2
        point = (a + b) / 2 if is_bisection else b - value_b * (b - a) / (value_b - value_a)
        value = _excess(point, pairs.at(active))
        above = value > 0
        low[active], high[active] = np.where(above, point, a), np.where(above, b, point)
        # The end that stays counts half, or it would stay for ever (Dowell and Jarratt, 1971).
        kept = 1.0 if is_bisection else 0.5
        low_value[active] = np.where(above, value, kept * value_a)
        high_value[active] = np.where(above, kept * value_b, value)
        done = (np.abs(value) < ROOT_TOLERANCE) | (b - a <= 1e-15 * b)
        roots[active] = np.where(done | (step == STEPS - 1), point, np.nan)
    return np.maximum(2 * _normal_tail(_bounded_score(roots, pairs)), SMALLEST_P_VALUE)


def _excess(end: FloatArray, pairs: PairDifferences) -> FloatArray:
    """Return ``(h^2 - mean^2) / (h^2 + mean^2)`` for the images' end, from -1 to 1."""
    import numpy as np

    mean = np.abs(pairs.mean)
    z = _bounded_score(end, pairs)
    square = _replicate_parts(pairs, z) + (mean - end) ** 2
    # Images alone: the interval touches 0 with the images' end, in which both are equal but for rounding.
    total = square - mean**2
    total[(end == 0) & (square <= mean**2)] = 0.0
    return np.asarray(total / (square + mean**2))


def _bounded_score(end: FloatArray, pairs: PairDifferences) -> FloatArray:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        score = _tango_score(end, pairs)
    return np.clip(np.nan_to_num(score, nan=0.0), 0.0, _largest_score())


def _tango_score(end: FloatArray, pairs: PairDifferences) -> FloatArray:
    """Return the score of a difference (Tango, 1998, equations 3 and 4) of the pairs' absolute means."""
    import numpy as np

    mean = np.abs(pairs.mean)
    images = _effective_images(pairs)
    gained = (pairs.changed + mean) / 2
    lost = (pairs.changed - mean) / 2
    linear = (2 - mean) * end - gained - lost
    constant = -lost * end * (1 - end)
    root = np.sqrt(np.maximum(linear**2 - 8 * constant, 0.0))
    variance = (root - linear) / 2 + end * (1 - end)
    excess = np.maximum(mean - end, 0.0)
    return np.asarray(np.where(excess > 0, excess * np.sqrt(images / variance), 0.0))


def _effective_images(pairs: PairDifferences) -> FloatArray:
    """Return the number of independent images, as `share_intervals` has it."""
    count = pairs.image_count
    events = count * (pairs.changed - pairs.mean**2)
    image_events = count * (count - 1) * pairs.images
    return count * (events + PRIOR_EVENTS) / (image_events + PRIOR_EVENTS)


def _replicate_parts(pairs: PairDifferences, z: FloatArray) -> FloatArray:
    """Return `BoardVariances.replicate_part` of each pair at the confidence of each z."""
    import numpy as np

    count = pairs.unit_count
    if count < 2:
        return np.zeros_like(z)
    units = pairs.units * (1 + count) if pairs.unreplicated else pairs.units
    part = _student_quantiles(count - 1, z) ** 2 * units
    both = pairs.seeds > 0
    if both.any():
        own, seeds = units[both], pairs.seeds[both]
        total = own + seeds
        spread = own**2 / (count - 1) + seeds**2 / (pairs.seed_count - 1)
        joined = _student_quantiles(total**2 / spread, z[both]) ** 2 * total
        alone = _student_quantiles(pairs.seed_count - 1, z[both]) ** 2 * seeds
        part[both] = np.maximum.reduce([part[both], joined, alone])
    return np.maximum(part - z**2 * pairs.residual, 0.0)


def _student_quantiles(degrees: int | FloatArray, z: FloatArray) -> FloatArray:
    """Return the quantiles of t at which its tail is the normal one beyond z."""
    import numpy as np

    if not isinstance(degrees, int):
        from scipy.special import stdtrit

        return np.asarray(-stdtrit(degrees, _normal_tail(z)))
    nodes, slopes, width = _quantile_table(degrees)
    place = np.minimum((z / width).astype(np.intp), len(nodes) - 2)
    x = z / width - place
    # Cubic Hermite interpolation, whose slopes are known: a hundred times as fast as the quantile itself.
    value = nodes[place] * (1 + 2 * x) * (1 - x) ** 2 + nodes[place + 1] * x**2 * (3 - 2 * x)
    value += width * (slopes[place] * x * (1 - x) ** 2 - slopes[place + 1] * x**2 * (1 - x))
    return np.asarray(value)


@lru_cache(maxsize=64)
def _quantile_table(degrees: int) -> tuple[FloatArray, FloatArray, float]:
    """Return quantiles of t at evenly spaced z from 0, their slopes, and the step of z."""
    import numpy as np
    from scipy.special import gammaln, stdtrit

    z = np.linspace(0, _largest_score(), QUANTILE_NODES)
    nodes = -stdtrit(degrees, _normal_tail(z))
    half = (degrees + 1) / 2
    log_density = gammaln(half) - gammaln(degrees / 2) - np.log(degrees * np.pi) / 2
    log_density = log_density - half * np.log1p(nodes**2 / degrees)
    slopes = np.exp(-(z**2) / 2 - np.log(2 * np.pi) / 2 - log_density)
    return nodes, slopes, float(z[1])


@lru_cache(maxsize=1)
def _largest_score() -> float:
    return -_normal_quantile(SMALLEST_P_VALUE / 2)


def _normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


def _normal_tail(z: FloatArray) -> FloatArray:
    import numpy as np
    from scipy.special import ndtr

    return np.asarray(ndtr(-z))
