"""A group of trials as one number: its mean, what unknown outcomes leave open, and an interval with its unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from advtransfer.leaderboard.evidence import Metric
from advtransfer.leaderboard.rows import Key
from advtransfer.statistics import Estimate, clustered_interval, mean_interval, wilson

Basis: TypeAlias = Literal["seeds", "sources", "deterministic", "single", "none"]
"""What an interval is over: subset seeds; source trainings; test images, as all trials agree or as there is one."""


@dataclass(frozen=True, slots=True)
class Range:
    """A mean with its 95 % interval; unknown outcomes leave it between `low` (all broken) and `high` (all robust)."""

    low: float
    high: float
    interval: tuple[float, float] | None
    basis: Basis
    units: int
    trials: int


def mean_of(metrics: Mapping[Key, Metric]) -> Range:
    """The mean over a row's trials.

    The interval is a t-interval over subset seeds, or over source trainings where the source has replicates; without
    spread, and for a single trial, it is the Wilson interval over test images.
    """
    found = _range(metrics)
    samples = min((metric.of or 0 for metric in metrics.values()), default=0)
    if not samples:
        return found
    if found.interval is None:
        ends = (wilson(round(found.low * samples), samples)[0], wilson(round(found.high * samples), samples)[1])
        return replace(found, interval=ends, basis="single" if found.trials == 1 else "deterministic")
    return replace(found, interval=(max(0.0, found.interval[0]), min(1.0, found.interval[1])))


def delta_of(ours: Mapping[Key, Metric], theirs: Mapping[Key, Metric]) -> Range | None:
    """The mean of ``ours - theirs``, paired by replicate and seed; a single training pairs with every replicate."""
    left, right = _spread(ours, over=theirs), _spread(theirs, over=ours)
    shared = [key for key in left if key in right]
    deltas = {key: Metric(left[key].low - right[key].high, left[key].high - right[key].low) for key in shared}
    return _range(deltas) if deltas else None


def _range(metrics: Mapping[Key, Metric]) -> Range:
    low = _mean({key: metric.low for key, metric in metrics.items()})
    high = _mean({key: metric.high for key, metric in metrics.items()})
    basis: Basis = "none"
    ends = None
    if low.interval or high.interval:
        basis = "sources" if len(_replicates(metrics)) > 1 else "seeds"
        ends = ((low.interval or (low.mean,))[0], (high.interval or (high.mean,))[-1])
    return Range(low.mean, high.mean, ends, basis, low.units, len(metrics))


def _mean(values: Mapping[Key, float]) -> Estimate:
    """Values of one replicate share its training, so that with several the replicate is the unit."""
    replicates = _replicates(values)
    if len(replicates) == 1:
        return mean_interval(values.values())
    return clustered_interval({one: [value for key, value in values.items() if key[0] == one] for one in replicates})


def _spread(metrics: Mapping[Key, Metric], *, over: Iterable[Key]) -> dict[Key, Metric]:
    """A single training's values under each replicate of the other side."""
    if len(_replicates(metrics)) > 1:
        return dict(metrics)
    replicates = _replicates(over)
    return {(one, seed): metric for (_, seed), metric in metrics.items() for one in replicates}


def _replicates(keys: Iterable[Key]) -> set[int | None]:
    return {replicate for replicate, _ in keys}
