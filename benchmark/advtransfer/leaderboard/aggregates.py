"""Means over the trials of a row, and differences to another row, with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import sqrt
from operator import add
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from advtransfer.leaderboard.result_data import ImageShares, Metric
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
        ends = share_interval(low)
        # Without unknown outcomes both ends are of one board.
        interval = (ends[0], ends[1] if high is low else share_interval(high)[1])
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
    differences = _merge_equal_seeds(_differences(ours, theirs), deterministic=deterministic)
    is_one_sided = has_trainings and _is_one_sided(ours, theirs)
    return _aggregate_differences(differences, is_one_sided=is_one_sided)


MetricPair: TypeAlias = "tuple[Mapping[TrialKey, Metric], Mapping[TrialKey, Metric]]"
"""The metrics of a row by trial, and those of the row that it is compared with."""


def mean_paired_difference(
    pairs: Mapping[str, Sequence[MetricPair]],
    *,
    deterministic: bool = False,
    has_trainings: bool = True,
) -> Aggregate | None:
    """Return the mean over several pairs of rows of `paired_difference`; None without a common trial.

    Pairs count equally. Each training and seed that all pairs have is one value: the mean of its
    differences, so that what tables share (trainings, seeds, test images) is no new evidence. Images
    of different targets are strata: their variance is that within targets.

    Args:
        pairs: Pairs of rows by target, those of one target with the same test images.
        deterministic: All seeds of all rows are the same trial.
        has_trainings: All rows have sources, whose trainings differ.
    """
    by_target = [
        [dict(_differences(ours, theirs)) for ours, theirs in of_target]
        for of_target in pairs.values()
    ]
    every = [differences for of_target in by_target for differences in of_target]
    keys = [key for key in (every[0] if every else ()) if all(key in each for each in every)]
    means = _stratified_means(by_target, keys)
    merged = _merge_equal_seeds(means, deterministic=deterministic)
    flat = [pair for of_target in pairs.values() for pair in of_target]
    is_one_sided = has_trainings and any(_is_one_sided(*pair) for pair in flat)
    return _aggregate_differences(merged, is_one_sided=is_one_sided)


def _stratified_means(
    by_target: Sequence[Sequence[Mapping[TrialKey, Metric]]], keys: Sequence[TrialKey]
) -> dict[TrialKey, Metric]:
    """Return the mean difference of each trial over all pairs, with its values by test image."""
    pair_count = sum(map(len, by_target))
    means: dict[TrialKey, Metric] = {}
    for key in keys:
        metrics = [differences[key] for of_target in by_target for differences in of_target]
        low = sum(metric.low for metric in metrics) / pair_count
        high = sum(metric.high for metric in metrics) / pair_count
        means[key] = Metric(low, high)
    images = [_mean_images(of_target, keys) for of_target in by_target]
    known = [stratum for stratum in images if stratum is not None]
    if len(known) < len(images) or not known:
        return means
    shares = [len(of_target) / pair_count for of_target in by_target]
    low_images = _joined_strata([{key: each[key].low for key in keys} for each in known], shares)
    high_images = _joined_strata([{key: each[key].high for key in keys} for each in known], shares)
    for key in keys:
        values = ImageShares(low_images[key], high_images[key])
        means[key] = replace(means[key], images=values)
    return means


def _mean_images(
    of_target: Sequence[Mapping[TrialKey, Metric]], keys: Sequence[TrialKey]
) -> dict[TrialKey, ImageShares] | None:
    """Return the mean over a target's pairs by test image, None where a trial has no such values."""
    means: dict[TrialKey, ImageShares] = {}
    for key in keys:
        images = [differences[key].images for differences in of_target]
        known = [each for each in images if each is not None]
        if len(known) < len(images) or len({len(each.low) for each in known}) != 1:
            return None
        low = reduce(add, [each.low for each in known]) / len(known)
        high = reduce(add, [each.high for each in known]) / len(known)
        means[key] = ImageShares(low, high)
    return means


def _joined_strata(
    strata: Sequence[Mapping[TrialKey, FloatArray]], shares: Sequence[float]
) -> dict[TrialKey, FloatArray]:
    """Return the images of all targets in one array, whose mean weighs each target by its share.

    A target's images are scaled by ``w = share N / N_t`` around the target's own mean, which the grand
    mean replaces: the variance of the mean is then ``sum_t share_t^2 s_t^2 / N_t``, that of a
    stratified sample (Cochran, 1977, equation 5.6), without the variance between targets.
    """
    import numpy as np

    if len(strata) == 1:
        return dict(strata[0])
    image_counts = [len(next(iter(stratum.values()))) for stratum in strata]
    centres = [float(np.mean(list(stratum.values()))) for stratum in strata]
    grand = sum(share * centre for share, centre in zip(shares, centres, strict=True))
    joined: dict[TrialKey, FloatArray] = {}
    for key in strata[0]:
        parts: list[FloatArray] = []
        for stratum, share, count, centre in zip(
            strata, shares, image_counts, centres, strict=True
        ):
            weight = share * sum(image_counts) / count
            parts.append(weight * (stratum[key] - centre) + grand)
        joined[key] = np.concatenate(parts)
    return joined


def _is_one_sided(ours: Mapping[TrialKey, Metric], theirs: Mapping[TrialKey, Metric]) -> bool:
    """Return whether one side has one training and the other several."""
    counts = {len(replicates_of(ours)), len(replicates_of(theirs))}
    return len(counts) > 1 and 1 in counts


def _aggregate_differences(
    differences: Mapping[TrialKey, Metric], *, is_one_sided: bool
) -> Aggregate | None:
    """Return the mean of the differences of trials, None without any."""
    if not differences:
        return None
    aggregate = _trial_aggregate(differences, is_one_sided=is_one_sided)
    low, high = _image_boards(differences)
    if low is not None and high is not None:
        ends = difference_interval(low, unreplicated=is_one_sided)
        upper = ends if high is low else difference_interval(high, unreplicated=is_one_sided)
        interval = (ends[0], upper[1])
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
        low = pair[0].low - pair[1].high
        images = ImageShares(low, low)
        if not all(each.is_known for each in pair if each is not None):
            images = ImageShares(low, pair[0].high - pair[1].low)
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
    """Return boards ``(trainings, seeds, images)`` of the low and high values, None without images.

    Both are one board where no outcome is unknown.
    """
    import numpy as np

    shares = {key: metric.images for key, metric in metrics.items() if metric.images is not None}
    image_counts = {len(images.low) for images in shares.values()}
    if len(shares) < len(metrics) or len(image_counts) != 1:
        return None, None
    replicates = sorted(replicates_of(shares), key=lambda replicate: replicate or 0)
    seeds = sorted({seed for _, seed in shares})
    low = np.full((len(replicates), len(seeds), image_counts.pop()), np.nan)
    is_known = all(images.is_known for images in shares.values())
    high = low if is_known else low.copy()
    for (replicate, seed), images in shares.items():
        place = (replicates.index(replicate), seeds.index(seed))
        low[place], high[place] = images.low, images.high
    return low, high


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
