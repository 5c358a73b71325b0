"""Resamples of the accuracies of rows, over test images and over source trainings or subset seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from advtransfer.leaderboard.image_bootstrap import draw_counts
from advtransfer.leaderboard.result_data import Metric
from advtransfer.leaderboard.table_rows import TrialKey

if TYPE_CHECKING:
    from numpy.random import RandomState

    from advtransfer.statistics.correlation import FloatArray

ROWS_PER_PRODUCT = 64  # rows whose resampled means are one matrix product
EXACT_FLOAT32 = 1 << 24  # whole numbers below it are exact in float32, in sums of any order


class RowSides(NamedTuple):
    """Clean and robust accuracy of a row, by trial."""

    clean: Mapping[TrialKey, Metric]
    robust: Mapping[TrialKey, Metric]


class Resamples(NamedTuple):
    """Clean and robust accuracies ``(count, K, 2)`` of K rows in resamples.

    Attributes:
        both: Of images and units.
        images: Of the same images, the units as measured.
    """

    both: FloatArray
    images: FloatArray


def unit_keys(sides: RowSides) -> list[tuple[str, int]]:
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


def unit_accuracies(sides: RowSides) -> FloatArray:
    """Return clean and robust accuracy ``(U, 2)`` of each unit: the mean over its trials."""
    import numpy as np

    means = [
        [np.mean([values.mean() for values in _unit_images(side, unit)]) for side in sides]
        for unit in unit_keys(sides)
    ]
    return np.array(means)


def resampled_accuracies(rows: Sequence[RowSides], stream: RandomState, count: int) -> Resamples:
    """Return the accuracies of rows in resamples of images and units.

    Rows with the same units see the same draws of them, and rows of equally many images the same images.
    """
    import numpy as np

    image_counts = {place: len(_first_images(sides)) for place, sides in enumerate(rows)}
    units = {place: tuple(unit_keys(sides)) for place, sides in enumerate(rows)}
    images_drawn = {
        size: np.concatenate([counts for _, counts in draw_counts(stream, size, count)])
        for size in sorted(set(image_counts.values()))
    }
    values = np.empty((count, len(rows), 2))
    image_values = np.empty_like(values)
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
            image_values[:, block] = means.mean(axis=-1)
    return Resamples(values, image_values)


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
