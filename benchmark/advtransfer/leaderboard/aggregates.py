"""Means over the trials of a row, and differences to another row, with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from advtransfer.leaderboard.run_data import ImageShares, Metric
from advtransfer.leaderboard.table_rows import TrialKey
from advtransfer.statistics import (
    MeanEstimate,
    clustered_interval,
    difference_interval,
    difference_p_value,
    mean_interval,
    share_interval,
    t_p_value,
)

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

Value = TypeVar("Value")

IntervalBasis: TypeAlias = Literal["seeds", "sources", "deterministic", "single", "none"]
"""The trials behind an interval: subset seeds, source trainings, or one.

It is one if only one is there (``single``), or if the transfer says that all seeds are the same trial
(``deterministic``).
"""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A mean over trials with its 95 % interval.

    Attributes:
        low: Mean if unknown outcomes count as broken.
        high: Mean if they count as robust.
        interval: Interval around both ends, None without spread.
        basis: The trials behind the interval.
        unit_count: Independent units (seeds or source trainings).
        trial_count: Trials that have the metric.
        image_count: Test images that the interval is over besides, 0 if it is over trials alone.
        p_value: p of a difference of 0, None if it is not tested.
        is_one_sided: Whether only one side of a difference has several trainings.
    """

    low: float
    high: float
    interval: tuple[float, float] | None
    basis: IntervalBasis
    unit_count: int
    trial_count: int
    image_count: int = 0
    p_value: float | None = None
    is_one_sided: bool = False


def aggregate_metrics(
    metrics: Mapping[TrialKey, Metric], *, deterministic: bool = False
) -> Aggregate:
    """Return the mean over a row's trials.

    Shares with an outcome for every test image have an interval over trainings or subset seeds and
    images (`share_interval`); other metrics a t-interval over trainings or seeds.

    Args:
        metrics: The metric of each trial.
        deterministic: All seeds are the same trial, by what the transfer says.
    """
    aggregate = _trial_aggregate(_merge_equal_seeds(metrics, deterministic=deterministic))
    aggregate = replace(aggregate, trial_count=len(metrics))
    low, high = _image_boards(_merge_equal_seeds(metrics, deterministic=deterministic))
    if low is not None and high is not None:
        interval = (share_interval(low)[0], share_interval(high)[1])
        aggregate = replace(aggregate, interval=interval, image_count=low.shape[2])
    elif aggregate.interval is not None and all(metric.is_share for metric in metrics.values()):
        # A t-interval knows nothing of the range of a share.
        start, end = aggregate.interval
        aggregate = replace(aggregate, interval=(max(0.0, start), min(1.0, end)))
    if deterministic and aggregate.basis == "single" and len(metrics) > 1:
        aggregate = replace(aggregate, basis="deterministic")
    return aggregate if aggregate.interval else replace(aggregate, basis="none")


def paired_difference(
    ours: Mapping[TrialKey, Metric],
    theirs: Mapping[TrialKey, Metric],
    *,
    deterministic: bool = False,
    has_trainings: bool = True,
) -> Aggregate | None:
    """Return the mean of ``ours - theirs``, paired by replicate, seed and image; None without a pair.

    A source with one training is paired with every replicate of the other. Its variance between trainings is
    unknown; the interval takes that of the other side for both.

    Args:
        ours: Metrics of one row.
        theirs: Metrics of the row that it is compared with.
        deterministic: All seeds of both rows are the same trial.
        has_trainings: Both rows have sources, whose trainings differ. Rows without a source start anew for
            every seed.
    """
    counts = {len(replicates_of(ours)), len(replicates_of(theirs))}
    is_one_sided = has_trainings and len(counts) > 1 and 1 in counts
    differences = _merge_equal_seeds(_differences(ours, theirs), deterministic=deterministic)
    if not differences:
        return None
    aggregate = _trial_aggregate(differences, is_one_sided=is_one_sided)
    low, high = _image_boards(differences)
    if low is not None and high is not None:
        interval = (
            difference_interval(low, unreplicated=is_one_sided)[0],
            difference_interval(high, unreplicated=is_one_sided)[1],
        )
        p_value = _larger_p_value(aggregate, low, high)
        aggregate = replace(aggregate, interval=interval, image_count=low.shape[2], p_value=p_value)
    return aggregate


def _differences(
    ours: Mapping[TrialKey, Metric], theirs: Mapping[TrialKey, Metric]
) -> dict[TrialKey, Metric]:
    """Return the differences of the trials that both sides have."""
    first = repeat_per_replicate(ours, over=theirs)
    second = repeat_per_replicate(theirs, over=ours)
    return {key: _subtract(first[key], second[key]) for key in first if key in second}


def _subtract(ours: Metric, theirs: Metric) -> Metric:
    # Interval arithmetic: the smallest difference pairs our lowest with their highest value.
    images = None
    pair = (ours.images, theirs.images)
    if pair[0] is not None and pair[1] is not None and len(pair[0].low) == len(pair[1].low):
        images = ImageShares(pair[0].low - pair[1].high, pair[0].high - pair[1].low)
    return Metric(ours.low - theirs.high, ours.high - theirs.low, images=images)


def _merge_equal_seeds(
    metrics: Mapping[TrialKey, Metric], *, deterministic: bool
) -> Mapping[TrialKey, Metric]:
    """Return one trial for each replicate whose trials have the same value, where a transfer says so."""
    if not deterministic:
        return metrics
    first: dict[int | None, tuple[TrialKey, Metric]] = {}
    for key, metric in metrics.items():
        _, other = first.setdefault(key[0], (key, metric))
        if (metric.low, metric.high) != (other.low, other.high):
            # Such as a validation part that each seed draws: the fits are then not the same.
            return metrics
    return dict(first.values())


def _image_boards(
    metrics: Mapping[TrialKey, Metric],
) -> tuple[FloatArray | None, FloatArray | None]:
    """Return boards ``(trainings, seeds, images)`` of the low and high values, None without images."""
    import numpy as np

    shares = {key: metric.images for key, metric in metrics.items() if metric.images is not None}
    image_counts = {len(images.low) for images in shares.values()}
    if len(shares) < len(metrics) or len(image_counts) != 1:
        return None, None
    replicates = sorted(replicates_of(shares), key=lambda replicate: replicate or 0)
    seeds = sorted({seed for _, seed in shares})
    shape = (2, len(replicates), len(seeds), image_counts.pop())
    boards = np.full(shape, np.nan)
    for (replicate, seed), images in shares.items():
        place = (replicates.index(replicate), seeds.index(seed))
        boards[0][place], boards[1][place] = images.low, images.high
    return boards[0], boards[1]


def _larger_p_value(aggregate: Aggregate, low: FloatArray, high: FloatArray) -> float:
    """Return the p value at the end of a range that is nearer to 0; 1 if the range holds 0."""
    if aggregate.low <= 0 <= aggregate.high:
        return 1.0
    return difference_p_value(
        low if aggregate.low > 0 else high, unreplicated=aggregate.is_one_sided
    )


def _trial_aggregate(
    metrics: Mapping[TrialKey, Metric], *, is_one_sided: bool = False
) -> Aggregate:
    """Return the mean with a t-interval over trainings or seeds alone."""
    low = _estimate_mean([(key, metric.low) for key, metric in metrics.items()])
    high = _estimate_mean([(key, metric.high) for key, metric in metrics.items()])
    interval = p_value = None
    if low.interval or high.interval:
        # One end may have no spread while the other has: it is then its own interval.
        lower = low.interval[0] if low.interval else low.mean
        upper = high.interval[1] if high.interval else high.mean
        # A second side with the variance of the first, in one training: s^2 / k + s^2.
        wider = sqrt(1 + low.units) if is_one_sided else 1.0
        interval = (low.mean - wider * (low.mean - lower), high.mean + wider * (upper - high.mean))
        p_value = max(t_p_value(low, scale=wider), t_p_value(high, scale=wider))
        if low.mean <= 0 <= high.mean:
            p_value = 1.0
    basis: IntervalBasis = "sources" if len(replicates_of(metrics)) > 1 else "seeds"
    if len(metrics) == 1:
        basis = "single"
    return Aggregate(
        low.mean,
        high.mean,
        interval,
        basis,
        unit_count=low.units,
        trial_count=len(metrics),
        p_value=p_value,
        is_one_sided=is_one_sided,
    )


def _estimate_mean(values: Sequence[tuple[TrialKey, float]]) -> MeanEstimate:
    """Return the mean of trials, clustered by replicate: its trials share one training."""
    replicates = replicates_of(key for key, _ in values)
    if len(replicates) == 1:
        return mean_interval(value for _, value in values)
    clusters = {
        cluster: [value for (replicate, _), value in values if replicate == cluster]
        for cluster in replicates
    }
    return clustered_interval(clusters)


def repeat_per_replicate(
    values: Mapping[TrialKey, Value], *, over: Iterable[TrialKey]
) -> dict[TrialKey, Value]:
    """Return the values of a single training under each replicate of the other side."""
    if len(replicates_of(values)) > 1:
        return dict(values)
    replicates = replicates_of(over)
    repeated: dict[TrialKey, Value] = {}
    for (_, seed), value in values.items():
        for replicate in replicates:
            repeated[replicate, seed] = value
    return repeated


def replicates_of(keys: Iterable[TrialKey]) -> set[int | None]:
    """Return the replicates of some trials; None alone for a source with one training."""
    return {replicate for replicate, _ in keys}
