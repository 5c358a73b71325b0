"""Ranks that say what they know: ranges from all pairs, the detectable difference, and what would separate two rows.

The range of a row is [1 + rows surely better, m - rows surely worse], where a pair is sure if its p, corrected by
Holm over all pairs of the family, is below alpha (Mogstad, Romano, Shaikh and Wilhelm, 2024). All ranges of a table
hold their rows' true ranks at once with a confidence of 1 - alpha.

The power of a pair's test is that of the interval in `share_intervals`: a difference M is sure if

    M^2 > h^2 = max(t^2 A - z^2 E, 0) + z^2 B

where A has the distribution of chi-squared over its degrees, and M is normal with the variance A + B - E. Without
images (B = E = 0) this is the t-test, whose power is that of the noncentral t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import inf, sqrt
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from advtransfer.statistics.correlation import holm_correction
from advtransfer.statistics.share_intervals import BoardVariances

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

FAMILY_LEVEL = 0.05
"""Alpha: the probability that any range of a table misses its row's true rank."""
POWER = 0.8
"""The power by which the detectable difference is defined."""
POWER_NODES = 200
MOST_UNITS = 10_000
"""Most trainings, seeds or images per one of today that are proposed; more would be no advice."""
BISECTIONS = 60


class RankRange(NamedTuple):
    """The ranks that a row may have: 1 + rows surely better, and m - rows surely worse."""

    best: int
    worst: int


class SeparationNeed(NamedTuple):
    """Units in all, or test images in all, that separate two rows; inf where no number does."""

    units: float
    images: float


def rank_ranges(
    p_values: FloatArray, differences: FloatArray, *, level: float = FAMILY_LEVEL
) -> list[RankRange]:
    """Return the range of ranks of each row of one family.

    Args:
        p_values: p of each pair ``(m, m)``, of which the part above the diagonal is read; NaN for a pair that
            cannot be tested, which counts in the family and is not sure.
        differences: ``(m, m)``: above 0 where row i is better than row j.
        level: Alpha of the whole family.
    """
    import numpy as np

    row_count = len(p_values)
    first, second = np.nonzero(np.triu(separated_pairs(p_values, level=level)))
    is_first_better = differences[first, second] > 0
    better = np.where(is_first_better, first, second)
    worse = np.where(is_first_better, second, first)
    above = np.bincount(worse, minlength=row_count)
    below = np.bincount(better, minlength=row_count)
    return [RankRange(1 + int(a), row_count - int(b)) for a, b in zip(above, below, strict=True)]


def separated_pairs(p_values: FloatArray, *, level: float = FAMILY_LEVEL) -> NDArray[np.bool_]:
    """Return the pairs ``(m, m)`` that are sure: their p is below a level after Holm's correction for all pairs.

    Args:
        p_values: As in `rank_ranges`.
        level: Alpha of the whole family.
    """
    import numpy as np

    first, second = np.triu_indices(len(p_values), 1)
    found = [None if np.isnan(p) else float(p) for p in p_values[first, second]]
    corrected = holm_correction(found)
    sure = np.zeros(p_values.shape, dtype=bool)
    sure[first, second] = [p is not None and p < level for p in corrected]
    return np.asarray(sure | sure.T)


def first_holm_level(row_count: int, *, level: float = FAMILY_LEVEL) -> float:
    """Return alpha over the number of pairs: the level that Holm's rule holds its smallest p to."""
    return level / max(row_count * (row_count - 1) // 2, 1)


def separation_power(
    variances: BoardVariances, difference: float, *, level: float, unreplicated: bool = False
) -> float:
    """Return the probability that a pair with this true difference has a p below a level.

    Args:
        variances: True variances of the pair's mean.
        difference: True difference.
        level: Such as `first_holm_level`.
        unreplicated: One side has one training, see `BoardVariances.replicate_part`.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    z = -float(ndtri(level / 2))
    square, degrees, replicates = _critical_square(variances, level, unreplicated=unreplicated)
    images = max(variances.images, 0.0)
    halves = np.sqrt(
        np.maximum(square * _variance_ratios(degrees) - z * z * variances.residual, 0.0)
        + z * z * images
    )
    rest = max(images - variances.residual, 0.0)
    deviation = sqrt(max(replicates, variances.residual) + rest)
    if deviation == 0:
        return float(difference != 0)
    power = ndtr((difference - halves) / deviation) + ndtr((-difference - halves) / deviation)
    return float(_quadrature()[1] @ power)


def detectable_difference(
    variances: BoardVariances, *, level: float, unreplicated: bool = False, power: float = POWER
) -> float:
    """Return the smallest true difference that a pair's test finds with a power.

    Raises:
        ValueError: The pair has no variance.
    """
    if not (variances.units or variances.images):
        raise ValueError("found a pair without variance; expected one that is tested")

    def is_found(difference: float) -> bool:
        return (
            separation_power(variances, difference, level=level, unreplicated=unreplicated) >= power
        )

    high = sqrt(variances.units + variances.seeds + variances.images)
    while not is_found(high):
        high *= 2
    low = 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
        if high - low < 1e-6 * high:
            break
    return high


def separation_need(
    variances: BoardVariances, *, level: float, unreplicated: bool = False, power: float = POWER
) -> SeparationNeed:
    """Return how many units, or how many images, separate a pair whose true difference is its mean.

    Units are trainings, or seeds where there is one training. More of them leave the variance of seeds that all
    trainings share, and that of images; more images leave the variance of units. A pair of one unit has no known
    variance between units, so that no number of them is known to do.
    """
    if not variances.mean:
        return SeparationNeed(inf, inf)
    difference = abs(variances.mean)

    def has_power(changed: BoardVariances) -> bool:
        # More units would be trained on both sides.
        is_same = changed.unit_count == variances.unit_count
        return (
            separation_power(
                changed, difference, level=level, unreplicated=unreplicated and is_same
            )
            >= power
        )

    units = images = inf
    if variances.unit_count > 1:
        sides = 2.0 if unreplicated else 1.0
        units = _smallest_count(
            lambda count: has_power(_with_units(variances, count, sides=sides)),
            start=variances.unit_count,
        )
    if variances.image_count:
        images = _smallest_count(
            lambda count: has_power(_with_images(variances, count)), start=variances.image_count
        )
    return SeparationNeed(units, images)


def _smallest_count(is_enough: Callable[[int], bool], *, start: int) -> float:
    """Return the smallest count from `start` that is enough, inf if none to `MOST_UNITS` times it is."""
    high = start
    while not is_enough(high):
        if high >= start * MOST_UNITS:
            return inf
        high *= 2
    low = max(high // 2, start)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return high


def _with_units(variances: BoardVariances, count: int, *, sides: float = 1.0) -> BoardVariances:
    """Return the variances with another number of units, each as variable as those of today."""
    if count == variances.unit_count:
        return variances
    ratio = variances.unit_count / count
    residual = variances.residual * ratio
    images = max(variances.images - variances.residual, 0.0) + residual
    units = variances.units * ratio * sides
    return replace(variances, units=units, unit_count=count, residual=residual, images=images)


def _with_images(variances: BoardVariances, count: int) -> BoardVariances:
    ratio = variances.image_count / count
    residual = variances.residual * ratio
    units = max(variances.units - variances.residual, 0.0) + residual
    images = variances.images * ratio
    return replace(variances, units=units, residual=residual, images=images, image_count=count)


def _critical_square(
    variances: BoardVariances, level: float, *, unreplicated: bool
) -> tuple[float, float, float]:
    """Return t^2 A with its degrees of freedom, and the variance of the units and seeds themselves.

    Of the parts that `BoardVariances.replicate_part` compares it is the largest.
    """
    from scipy.special import stdtrit

    if variances.unit_count < 2:
        return 0.0, 1.0, 0.0
    units, seeds = variances.units, variances.seeds
    if unreplicated:
        units *= 1 + variances.unit_count
    parts = [(units, float(variances.unit_count - 1))]
    if seeds:
        spread = units**2 / (variances.unit_count - 1) + seeds**2 / (variances.seed_count - 1)
        parts.append((units + seeds, (units + seeds) ** 2 / spread))
        parts.append((seeds, float(variances.seed_count - 1)))
    squares = [(float(stdtrit(degrees, level / 2)) ** 2 * part, degrees) for part, degrees in parts]
    return (*max(squares), units + seeds)


def _variance_ratios(degrees: float) -> FloatArray:
    """Return the quantiles of chi-squared over its degrees at the nodes of the quadrature."""
    import numpy as np
    from scipy.special import gammaincinv

    return np.asarray(2 * gammaincinv(degrees / 2, _quadrature()[0]) / degrees)


@lru_cache(maxsize=1)
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights of Gauss and Legendre on 0 to 1."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(POWER_NODES)
    return (nodes + 1) / 2, weights / 2
