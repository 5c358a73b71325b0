"""Pareto fronts of clean and robust accuracy: which rows no other row beats in both, and how sure that is.

A front's hypervolume is the area that its rows dominate above (chance, 0), where chance is the share of the
largest class (Zitzler and Thiele, 1999). Resamples draw test images and independent units (source trainings, or
subset seeds), the same for all rows, as the paired differences of the tables do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from advtransfer.leaderboard.pareto_resamples import (
    RowSides,
    resampled_accuracies,
    unit_accuracies,
    unit_keys,
)
from advtransfer.leaderboard.probes import CHECKED_GROUP, combine_probes, rank_groups
from advtransfer.leaderboard.ranking import requested_ranking
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    columns_of,
    group_rows,
)
from advtransfer.result.evidence import is_snapshot
from advtransfer.statistics import mean_interval
from advtransfer.types.metric_names import CLAIM_PREFIX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from advtransfer.statistics.correlation import FloatArray

RESAMPLES = 1000


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
        interval: Its 95 % interval, see `area_interval`; None without resamples.
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
    robust = next((column for column in columns if is_robust_claim(column, data)), None)
    if robust is None:
        return None
    # Of one test part, since both are resampled over its images.
    test_data = data.further_data(robust.evaluation)
    accuracies = (column for column in columns if column.metric == "accuracy")
    clean = next(
        (each for each in accuracies if data.further_data(each.evaluation) == test_data), None
    )
    return None if clean is None else AccuracyPair(clean, robust)


def is_robust_claim(column: Column, data: RunData) -> bool:
    """Return whether a column is a robust accuracy of fitted models."""
    recorded = data.metrics.get(column.evaluation, set())
    metric = column.metric or ""
    return metric.startswith(CLAIM_PREFIX) and not is_snapshot(metric, recorded)


def checked_rows(
    rows: Sequence[LeaderboardRow], pair: AccuracyPair, data: RunData
) -> dict[LeaderboardRow, RowSides]:
    """Return the accuracies of the rows that may be on a front.

    They are complete, checked by batteries on the same images, and learned, and all their trials have outcomes.
    """
    sides: dict[LeaderboardRow, RowSides] = {}
    for row in rows:
        if not _is_ranked(row, pair, data):
            continue
        both = RowSides(*(row.metric_values(column, data) for column in pair))
        planned = {(trial.replicate, trial.seed) for trial in row.trials}
        is_complete = both.clean.keys() == planned == both.robust.keys()
        if is_complete and _have_outcomes(both):
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
            chance = _chance_accuracy(sides, pair, data)
            fronts += _target_fronts(target, sides, data, chance=chance, resamples=resamples)
    return fronts


def _target_fronts(
    target: str,
    sides: Mapping[LeaderboardRow, RowSides],
    data: RunData,
    *,
    chance: float,
    resamples: int,
) -> list[ParetoFront]:
    import numpy as np

    rows = list(sides)
    by_unit = [unit_accuracies(sides[row]) for row in rows]
    observed = np.array([values.mean(axis=0) for values in by_unit])
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
    fronts: list[ParetoFront] = []
    for source, is_overall, places in scopes:
        points = _front_points(
            [rows[place] for place in places],
            observed[places],
            None if resampled is None else resampled.both[:, places],
        )
        area = float(dominated_area(observed[places], (chance, 0.0)))
        interval = None
        if resampled is not None:
            own = [sides[rows[place]] for place in places]
            interval = area_interval(own, resampled.images[:, places], chance)
        units = max(len(by_unit[place]) for place in places)
        fronts.append(
            ParetoFront(target, source, is_overall, points, chance, area, interval, units)
        )
    return fronts


def _front_points(
    rows: Sequence[LeaderboardRow], observed: FloatArray, resampled: FloatArray | None
) -> tuple[FrontPoint, ...]:
    """Return the points of a front ``(K, 2)``, with their shares of resamples ``(B, K, 2)``."""
    mask = pareto_mask(observed)
    shares: Sequence[float | None] = [None] * len(rows)
    if resampled is not None:
        shares = pareto_mask(resampled).mean(axis=0).tolist()
    return tuple(
        FrontPoint(row, float(clean), float(robust), bool(is_on_front), share)
        for row, (clean, robust), is_on_front, share in zip(
            rows, observed, mask, shares, strict=True
        )
    )


def area_interval(
    rows: Sequence[RowSides], image_values: FloatArray, chance: float
) -> tuple[float, float]:
    """Return the 95 % interval of the area that rows dominate, within 0 and 1 - chance.

    Its half-width h has ``h^2 = t_{k-1}^2 A + z^2 B``, as the intervals of shares have (without the residual, so
    that it is a little wide): A is the jackknife's variance over k trainings or seeds (Tukey, 1958), of each set
    of rows with the same ones; B is the variance over resamples of the test images. With 3 and 5 units it covers
    .945 to .964, where the percentile bootstrap covered .72 to .93 (docs/figures.md).

    Args:
        rows: The K rows.
        image_values: Their accuracies ``(B, K, 2)`` in resamples of test images.
        chance: Where the area begins.
    """
    import numpy as np

    start = (chance, 0.0)
    by_unit = [unit_accuracies(sides) for sides in rows]
    means = np.array([values.mean(axis=0) for values in by_unit])
    area = float(dominated_area(means, start))
    z = NormalDist().inv_cdf(0.975)
    squared_half = z * z * float(dominated_area(image_values, start).var(ddof=1))
    names = [tuple(unit_keys(sides)) for sides in rows]
    for units in sorted(set(names)):
        count = len(units)
        pseudo_values: list[float] = []
        for unit in range(count if count > 1 else 0):
            points = means.copy()
            for place, values in enumerate(by_unit):
                if names[place] == units:
                    points[place] = np.delete(values, unit, axis=0).mean(axis=0)
            without = float(dominated_area(points, start))
            pseudo_values.append(count * area - (count - 1) * without)
        estimate = mean_interval(pseudo_values) if pseudo_values else None
        if estimate is not None and estimate.interval is not None:
            squared_half += (estimate.interval[1] - estimate.mean) ** 2
    half = sqrt(squared_half)
    return max(area - half, 0.0), min(area + half, 1 - chance)


def _chance_accuracy(rows: Iterable[LeaderboardRow], pair: AccuracyPair, data: RunData) -> float:
    """Return the share of the largest class among the test labels of a pair, 0 where no record has it."""
    test_data = data.further_data(pair.clean.evaluation)
    for row in rows:
        for trial in row.trials:
            for label in data.labels_on(trial, test_data):
                for id in trial.evaluations[label]:
                    if id in data.results and data.results[id].largest_class is not None:
                        return float(data.results[id].largest_class or 0.0)
    return 0.0


def _resampling_seed(target: str, rows: Iterable[LeaderboardRow]) -> int:
    """Return the seed of the resamples: a digest of the fits, whatever their order."""
    ids = sorted(trial.id for row in rows for trial in row.trials)
    digest = hashlib.sha256("\n".join([target, *ids]).encode()).digest()
    # Four bytes, since numpy's RandomState takes seeds below 2 ** 32.
    return int.from_bytes(digest[:4], "big")
