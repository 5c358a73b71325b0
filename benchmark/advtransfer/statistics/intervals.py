"""Intervals.

Over test images (Wilson), over seeds (t), over seeds that share a source (clustered), over pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import fsum, isfinite, sqrt
from statistics import NormalDist
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class MeanEstimate:
    """A mean over `units` independent values with its interval; `reason` says why there is none."""

    mean: float
    interval: tuple[float, float] | None
    units: int
    reason: str | None = None


def wilson_interval(successes: int, of: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson, 1927): what one accuracy says about images like these.

    Raises:
        ValueError: `successes` is not between 0 and `of`, or `of` is 0.
    """
    if not 0 <= successes <= of or of == 0:
        raise ValueError(
            f"found {successes} successes of {of}; expected 0 <= successes <= of and at least one sample"
        )
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / of, 1 + z * z / of
    centre = (share + z * z / (2 * of)) / weight
    half = z / weight * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == of else centre + half)


def mean_interval(values: Iterable[float], *, confidence: float = 0.95) -> MeanEstimate:
    """The mean of independent values with a t-interval; none for a single value or for values without spread.

    Raises:
        ValueError: There is no value, or one is not finite.
    """
    values = tuple(values)
    if not values or not all(map(isfinite, values)):
        raise ValueError(f"found the values {list(values)}; expected at least one, all finite")
    if min(values) == max(values):
        return MeanEstimate(
            values[0], None, len(values), "one value" if len(values) == 1 else "no spread"
        )
    from scipy.special import stdtrit

    units = len(values)
    mean = fsum(values) / units
    deviation = sqrt(fsum((value - mean) ** 2 for value in values) / (units - 1))
    half = float(stdtrit(units - 1, (1 + confidence) / 2)) * deviation / sqrt(units)
    return MeanEstimate(mean, (mean - half, mean + half), units)


def clustered_interval(
    groups: Mapping[Key, Iterable[float]], *, confidence: float = 0.95
) -> MeanEstimate:
    """The mean over clusters (source trainings, say) of their means, with a t-interval over the clusters.

    Values within a cluster share what made it, so they are not independent: the cluster is the unit.
    """
    means = [mean_interval(values).mean for values in groups.values()]
    return mean_interval(means, confidence=confidence)


def paired_delta(
    ours: Mapping[Key, float],
    theirs: Mapping[Key, float],
    *,
    cluster: Callable[[Key], Hashable] | None = None,
    confidence: float = 0.95,
) -> MeanEstimate | None:
    """The mean of ``ours - theirs`` over the keys of both, with its interval; None when they share no key.

    Args:
        ours: Values by what they are paired by (a seed, say).
        theirs: Values to compare with.
        cluster: The cluster of a key; without it every pair is a unit of its own.
        confidence: Of the interval.
    """
    deltas = {key: ours[key] - theirs[key] for key in ours if key in theirs}
    if not deltas:
        return None
    if cluster is None:
        return mean_interval(deltas.values(), confidence=confidence)
    groups: dict[Hashable, list[float]] = {}
    for key, delta in deltas.items():
        groups.setdefault(cluster(key), []).append(delta)
    return clustered_interval(groups, confidence=confidence)
