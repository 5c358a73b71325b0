"""Confidence intervals over test images (Wilson), over seeds (t), and over seeds that share a source (clustered)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from math import fsum, isfinite, sqrt
from statistics import NormalDist
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class MeanEstimate:
    """A mean over `units` independent values and its interval, or the `reason` why there is none."""

    mean: float
    interval: tuple[float, float] | None
    units: int
    reason: str | None = None


# Typed, since numbers of numpy would give other types of floats.
@lru_cache(maxsize=65_536, typed=True)
def wilson_interval(successes: int, of: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share (Wilson, 1927): the uncertainty of an accuracy over test images.

    Raises:
        ValueError: `successes` is not between 0 and `of`, or `of` is 0.
    """
    if not 0 <= successes <= of or of == 0:
        raise ValueError(
            f"found {successes} successes of {of}; expected 0 <= successes <= of and at least one sample"
        )
    z = _normal_quantile(confidence)
    share = successes / of
    weight = 1 + z * z / of
    centre = (share + z * z / (2 * of)) / weight
    half = z / weight * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    # At the ends the interval touches 0 or 1 exactly, which rounding would miss.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == of else centre + half
    return low, high


@cache
def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def mean_interval(values: Iterable[float], *, confidence: float = 0.95) -> MeanEstimate:
    """Return the mean of independent values with a t-interval; no interval for values without spread.

    Raises:
        ValueError: There are no values, or one is not finite.
    """
    values = tuple(values)
    if not values or not all(map(isfinite, values)):
        raise ValueError(f"found the values {list(values)}; expected at least one, all finite")
    if min(values) == max(values):
        reason = "one value" if len(values) == 1 else "no spread"
        return MeanEstimate(values[0], None, len(values), reason)
    from scipy.special import stdtrit

    units = len(values)
    mean = fsum(values) / units
    deviation = sqrt(fsum((value - mean) ** 2 for value in values) / (units - 1))
    half = float(stdtrit(units - 1, (1 + confidence) / 2)) * deviation / sqrt(units)
    return MeanEstimate(mean, (mean - half, mean + half), units)


def clustered_interval(
    groups: Mapping[Key, Iterable[float]], *, confidence: float = 0.95
) -> MeanEstimate:
    """Return the mean of the cluster means, with a t-interval over the clusters (such as source trainings).

    Values in a cluster share a source, so they are not independent; the clusters are.
    """
    means = [mean_interval(values).mean for values in groups.values()]
    return mean_interval(means, confidence=confidence)


def t_p_value(estimate: MeanEstimate, *, scale: float = 1.0) -> float:
    """Return the p value of a mean of 0 by the t-interval; 1 without an interval.

    Args:
        estimate: Result of `mean_interval` or `clustered_interval` with the default confidence.
        scale: Factor on the standard error.
    """
    if estimate.interval is None:
        return 1.0
    from scipy.special import stdtr, stdtrit

    degrees = estimate.units - 1
    half = scale * (estimate.interval[1] - estimate.mean)
    statistic = abs(estimate.mean) * float(stdtrit(degrees, 0.975)) / half
    return 2 * float(stdtr(degrees, -statistic))
