"""Pareto fronts of clean and robust accuracy: which rows no other row beats in both, and how sure that is.

A front's hypervolume is the area that its rows dominate above (chance, 0), where chance is the share of the
largest class (Zitzler and Thiele, 1999). Resamples draw test images and independent units (source trainings, or
subset seeds), the same for all rows, as the paired differences of the tables do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from advtransfer.leaderboard.image_bootstrap import draw_counts
from advtransfer.leaderboard.probes import CHECKED_GROUP, combine_probes, rank_groups
from advtransfer.leaderboard.ranking import requested_ranking
from advtransfer.leaderboard.result_data import Metric
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    TrialKey,
    columns_of,
    group_rows,
)
from advtransfer.result.evidence import is_snapshot
from advtransfer.types.metric_names import CLAIM_PREFIX

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from advtransfer.statistics.correlation import FloatArray

RESAMPLES = 1000
ROWS_PER_PRODUCT = 64  # rows whose resampled means are one matrix product
EXACT_FLOAT32 = 1 << 24  # whole numbers below it are exact in float32, in sums of any order


class AccuracyPair(NamedTuple):
    """A clean and a robust accuracy."""

    clean: Column
    robust: Column


@dataclass(frozen=True, slots=True, eq=False)
class FrontPoint:
    """A row among those of a front.

    Attributes:
        row: The row, of one target and n.
        clean: Its clean accuracy.
        robust: Its robust accuracy, unknown outcomes counted as broken.
        is_on_front: Whether no other row beats it.
        share: Share of the resamples in which none does, None without resamples.
    """

    row: LeaderboardRow
    clean: float
    robust: float
    is_on_front: bool
    share: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ParetoFront:
    """The front of the rows of one source at one target, over transfers and n; or of all sources.

    Attributes:
        target: Target.
        source: Source, None for rows without one.
        is_overall: Whether it is of all sources.
        points: All its rows, those on the front among them.
        chance: Where the area begins: the share of the largest class, 0 where it is not recorded.
        area: Area that the front dominates above (chance, 0), at most 1 - chance.
        interval: Its 95 % percentile interval over the resamples, None without resamples.
        unit_count: Most units of a row that were resampled: 1 where images alone were.
    """

    target: str
    source: str | None
    is_overall: bool
    points: tuple[FrontPoint, ...]
    chance: float
    area: float
    interval: tuple[float, float] | None
    unit_count: int


def pareto_mask(values: FloatArray) -> NDArray[np.bool_]:
    """Return which points ``(..., K, 2)`` no other equals or exceeds in both objectives, and exceeds in one.

    Equal points are on the front together.
    """
    import numpy as np

    order = np.lexsort((-values[..., 1], -values[..., 0]), axis=-1)
    ordered = np.take_along_axis(values, order[..., None], axis=-2)
    x, y = ordered[..., 0], ordered[..., 1]
    highest = np.maximum.accumulate(y, axis=-1)
    # From the highest x down, a point is on the front where its y exceeds all before it.
    is_new = np.ones(y.shape, dtype=bool)
    is_new[..., 1:] = y[..., 1:] > highest[..., :-1]
    is_equal = np.zeros(y.shape, dtype=bool)
    is_equal[..., 1:] = (x[..., 1:] == x[..., :-1]) & (y[..., 1:] == y[..., :-1])
    places = np.where(is_equal, 0, np.arange(y.shape[-1]))
    first = np.maximum.accumulate(places, axis=-1)  # the first of the points equal to each
    mask = np.empty_like(is_new)
    np.put_along_axis(mask, order, np.take_along_axis(is_new, first, axis=-1), axis=-1)
    return mask


def dominated_area(values: FloatArray, start: tuple[float, float]) -> FloatArray:
    """Return the area ``(...)`` that points ``(..., K, 2)`` dominate above a start.

    It is the sum, from the highest x down, of the steps in x times the highest y so far.
    """
    import numpy as np

    x = np.maximum(values[..., 0], start[0])
    y = np.maximum(values[..., 1] - start[1], 0.0)
    order = np.argsort(-x, axis=-1, kind="stable")
    x, y = np.take_along_axis(x, order, axis=-1), np.take_along_axis(y, order, axis=-1)
    ends = np.concatenate([x[..., 1:], np.full_like(x[..., :1], start[0])], axis=-1)
    area: FloatArray = ((x - ends) * np.maximum.accumulate(y, axis=-1)).sum(axis=-1)
    return area


def default_pair(data: RunData) -> AccuracyPair | None:
    """Return the page's first clean accuracy, and the robust accuracy that ranks its rows or is its first."""
    columns = columns_of(data)
    ranking = requested_ranking(data)
    if ranking is not None:
        columns.insert(0, ranking.column)
    clean = next((column for column in columns if column.metric == "accuracy"), None)
    robust = next((column for column in columns if is_robust_claim(column, data)), None)
    return None if clean is None or robust is None else AccuracyPair(clean, robust)


def is_robust_claim(column: Column, data: RunData) -> bool:
    """Return whether a column is a robust accuracy of fitted models."""
    recorded = data.metrics.get(column.evaluation, set())
    metric = column.metric or ""
    return metric.startswith(CLAIM_PREFIX) and not is_snapshot(metric, recorded)


class RowSides(NamedTuple):
    """Clean and robust accuracy of a row, by trial."""

    clean: Mapping[TrialKey, Metric]
    robust: Mapping[TrialKey, Metric]


def checked_rows(
    rows: Sequence[LeaderboardRow], pair: AccuracyPair, data: RunData
) -> dict[LeaderboardRow, RowSides]:
    """Return the accuracies of the rows that may be on a front.

    They are complete, checked by batteries on the same images, and learned, and all their trials have outcomes.
    """
    sides: dict[LeaderboardRow, RowSides] = {}
    for row in rows:
        both = RowSides(*(row.metric_values(column, data) for column in pair))
        planned = {(trial.replicate, trial.seed) for trial in row.trials}
        is_complete = both.clean.keys() == planned == both.robust.keys()
        if is_complete and _have_outcomes(both) and _is_ranked(row, pair, data):
            sides[row] = both
    probes = {
        row: combine_probes(metric.probe for metric in both.robust.values())
        for row, both in sides.items()
    }
    groups = rank_groups({row: probe for row, probe in probes.items() if probe is not None})
    return {row: both for row, both in sides.items() if groups.get(row) == CHECKED_GROUP}


def _have_outcomes(sides: RowSides) -> bool:
    """Return whether all trials have outcomes, of equally many images."""
    metrics = [metric for side in sides for metric in side.values()]
    counts = {None if metric.images is None else len(metric.images.low) for metric in metrics}
    return len(counts) == 1 and None not in counts


def _is_ranked(row: LeaderboardRow, pair: AccuracyPair, data: RunData) -> bool:
    if any(data.unlearned_reason(trial) for trial in row.trials):
        return False
    return all(
        result.metric_verdict(column.metric or "").is_ranked
        for column in pair
        for trial in row.trials
        for result in column.results_of(trial, data)
    )


def pareto_fronts(
    data: RunData, pair: AccuracyPair, *, resamples: int = RESAMPLES
) -> list[ParetoFront]:
    """Return the fronts of each target: of each source, and of all sources where there are several.

    Args:
        data: The run.
        pair: The accuracies.
        resamples: Number of resamples, 0 for the fronts alone.
    """
    by_target: dict[str, list[LeaderboardRow]] = {}
    for (target, _), rows in group_rows(data).items():
        by_target.setdefault(target, []).extend(rows)
    fronts: list[ParetoFront] = []
    for target, rows in by_target.items():
        sides = checked_rows(rows, pair, data)
        if sides:
            fronts += _target_fronts(target, sides, data, resamples=resamples)
    return fronts


def _target_fronts(
    target: str, sides: Mapping[LeaderboardRow, RowSides], data: RunData, *, resamples: int
) -> list[ParetoFront]:
    import numpy as np

    rows = list(sides)
    observed = np.array([[_mean_accuracy(side) for side in sides[row]] for row in rows])
    resampled = None
    if resamples:
        stream = np.random.RandomState(_resampling_seed(target, rows))
        resampled = resampled_accuracies(list(sides.values()), stream, resamples)
    places_by_source: dict[str | None, list[int]] = {}
    for place, row in enumerate(rows):
        places_by_source.setdefault(row.source, []).append(place)
    scopes = [(source, False, places) for source, places in places_by_source.items()]
    if len(scopes) > 1:
        scopes.append((None, True, list(range(len(rows)))))
    chance = _chance_accuracy(rows, data)
    fronts: list[ParetoFront] = []
    for source, is_overall, places in scopes:
        points, area, interval = _front_points(
            [rows[place] for place in places],
            observed[places],
            None if resampled is None else resampled[:, places],
            chance,
        )
        units = max(len(_unit_keys(sides[rows[place]])) for place in places)
        fronts.append(
            ParetoFront(target, source, is_overall, points, chance, area, interval, units)
        )
    return fronts


def _front_points(
    rows: Sequence[LeaderboardRow],
    observed: FloatArray,
    resampled: FloatArray | None,
    chance: float,
) -> tuple[tuple[FrontPoint, ...], float, tuple[float, float] | None]:
    """Return the points of a front ``(K, 2)``, its area, and their interval over resamples ``(B, K, 2)``."""
    import numpy as np

    start = (chance, 0.0)
    mask = pareto_mask(observed)
    shares: Sequence[float | None] = [None] * len(rows)
    interval = None
    if resampled is not None:
        shares = pareto_mask(resampled).mean(axis=0).tolist()
        low, high = np.percentile(dominated_area(resampled, start), [2.5, 97.5])
        interval = (float(low), float(high))
    points = tuple(
        FrontPoint(row, float(clean), float(robust), bool(is_on_front), share)
        for row, (clean, robust), is_on_front, share in zip(
            rows, observed, mask, shares, strict=True
        )
    )
    return points, float(dominated_area(observed, start)), interval


def _chance_accuracy(rows: Iterable[LeaderboardRow], data: RunData) -> float:
    """Return the share of the largest class among a target's test labels, 0 where no record has it."""
    for row in rows:
        for trial in row.trials:
            for ids in trial.evaluations.values():
                for id in ids:
                    if id in data.results and data.results[id].largest_class is not None:
                        return float(data.results[id].largest_class or 0.0)
    return 0.0


def _unit_keys(sides: RowSides) -> list[tuple[str, int]]:
    """Return the independent units of a row: source trainings where there are several, else subset seeds."""
    replicates = {replicate for replicate, _ in sides.clean}
    if len(replicates) > 1:
        return sorted(("training", replicate or 0) for replicate in replicates)
    return sorted(("seed", seed) for _, seed in sides.clean)


def _unit_images(side: Mapping[TrialKey, Metric], unit: tuple[str, int]) -> list[FloatArray]:
    """Return the outcomes of the trials of a unit; unknown ones count as broken."""
    kind, number = unit
    return [
        metric.images.low
        for (replicate, seed), metric in side.items()
        if metric.images is not None
        and number == ((replicate or 0) if kind == "training" else seed)
    ]


def _mean_accuracy(side: Mapping[TrialKey, Metric]) -> float:
    """Return the mean over units of the mean over their trials."""
    units = _unit_keys(RowSides(side, side))
    means = []
    for unit in units:
        images = _unit_images(side, unit)
        means.append(sum(float(values.mean()) for values in images) / len(images))
    return sum(means) / len(means)


def _resampling_seed(target: str, rows: Iterable[LeaderboardRow]) -> int:
    """Return the seed of the resamples: a digest of the fits, whatever their order."""
    ids = sorted(trial.id for row in rows for trial in row.trials)
    digest = hashlib.sha256("\n".join([target, *ids]).encode()).digest()
    # Four bytes, since numpy's RandomState takes seeds below 2 ** 32.
    return int.from_bytes(digest[:4], "big")


def resampled_accuracies(rows: Sequence[RowSides], stream: RandomState, count: int) -> FloatArray:
    """Return clean and robust accuracy ``(count, K, 2)`` of the rows in resamples of images and units.

    Rows with the same units see the same draws of them, and rows of equally many images the same images.
    """
    import numpy as np

    image_counts = {place: len(_first_images(sides)) for place, sides in enumerate(rows)}
    units = {place: tuple(_unit_keys(sides)) for place, sides in enumerate(rows)}
    images_drawn = {
        size: np.concatenate([counts for _, counts in draw_counts(stream, size, count)])
        for size in sorted(set(image_counts.values()))
    }
    values = np.empty((count, len(rows), 2))
    groups = sorted({(units[place], image_counts[place]) for place in units})
    weights = {
        names: _unit_weights(stream, len(names), count) for names in sorted(set(units.values()))
    }
    for names, size in groups:
        places = [place for place in units if (units[place], image_counts[place]) == (names, size)]
        for start in range(0, len(places), ROWS_PER_PRODUCT):
            block = places[start : start + ROWS_PER_PRODUCT]
            means = _resampled_means([rows[place] for place in block], names, images_drawn[size])
            values[:, block] = (means * weights[names][:, None, None]).sum(axis=-1)
    return values


def _first_images(sides: RowSides) -> FloatArray:
    metric = next(iter(sides.clean.values()))
    assert metric.images is not None  # by `checked_rows`
    return metric.images.low


def _unit_weights(stream: RandomState, size: int, count: int) -> FloatArray:
    """Return the share of each unit in resamples of them, ``(count, size)``."""
    import numpy as np

    draws = stream.randint(0, size, size=(count, size))
    weights: FloatArray = (draws[:, :, None] == np.arange(size)).sum(axis=1) / size
    return weights


def _resampled_means(
    rows: Sequence[RowSides], units: Sequence[tuple[str, int]], draws: FloatArray
) -> FloatArray:
    """Return the mean of each unit ``(count, K, 2, U)`` over drawn images ``(count, N)``."""
    import numpy as np

    columns: list[FloatArray] = []
    trial_counts: list[int] = []
    for sides in rows:
        for side in sides:
            for unit in units:
                images = _unit_images(side, unit)
                columns.append(np.sum(images, axis=0))
                trial_counts.append(len(images))
    sums = np.stack(columns, axis=-1)
    size = draws.shape[1]
    is_exact = bool((sums == np.floor(sums)).all()) and size * float(sums.max()) < EXACT_FLOAT32
    dtype = np.float32 if is_exact else np.float64
    totals = (draws.astype(dtype) @ sums.astype(dtype)).astype(np.float64)
    means: FloatArray = totals / (size * np.array(trial_counts))
    return means.reshape(len(draws), len(rows), 2, len(units))
