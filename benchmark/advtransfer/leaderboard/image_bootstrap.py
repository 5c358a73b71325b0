"""Resamples of the test images behind the points of a question.

All points measured on one test part see the same resample of it, since they share its easy and hard
images. Outcomes are counted in whole numbers, and other values are rounded so that their sums over a
resample are exact: equal points stay equal on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.questions_points import QuestionPoints, ResultGroup
from advtransfer.leaderboard.table_rows import Column
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from numpy.random import RandomState

    from advtransfer.statistics.correlation import FloatArray


DRAWS_PER_CHUNK = 100
MANTISSA_BITS = 53  # bits of a float64's significand


@dataclass(frozen=True, slots=True)
class ImageMean:
    """A mean ``sum(values) / sum(weights)`` over the images of a test part.

    Attributes:
        index: Position ``(reference, point)`` in the arrays of a side.
        mean_count: Number of such means whose average is the value at `index`.
        test_id: Id of the test samples.
        values: ``(N,)``; 0 for an image without a value.
        weights: ``(N,)``; 0 for an image without a value.
    """

    index: tuple[int, int]
    mean_count: int
    test_id: str
    values: FloatArray
    weights: FloatArray

    @property
    def test_part(self) -> tuple[str, int]:
        """Id and size of the test samples, which are resampled together."""
        return self.test_id, len(self.values)


class ImageBootstrap:
    """Resamples the test images of predictor and outcome.

    A side that is not a mean over images keeps its values, and its column is in `fixed_columns`.
    """

    def __init__(self, points: QuestionPoints) -> None:
        predictors = [point.predictor for point in points.points]
        outcomes = [point.outcome for point in points.points]
        self._values = points.value_arrays
        self._means = (
            _image_means(points.predictor, predictors),
            _image_means(points.outcome, outcomes),
        )
        columns = (points.predictor, points.outcome)
        self.fixed_columns = tuple(
            column.name for column, means in zip(columns, self._means, strict=True) if not means
        )

    def __call__(self, stream: RandomState, count: int) -> tuple[FloatArray, FloatArray]:
        """Return predictor and outcome in `count` resamples, each ``(count, R, S)``."""
        predictor, outcome = (self._initial_values(side, count) for side in (0, 1))
        targets = [(predictor, mean) for mean in self._means[0]]
        targets += [(outcome, mean) for mean in self._means[1]]
        # Sorted, since every test part takes its draws from the same stream.
        for test_part in sorted({mean.test_part for _, mean in targets}):
            same_part = [(side, mean) for side, mean in targets if mean.test_part == test_part]
            _add_resampled_means(same_part, stream, count)
        return predictor, outcome

    def _initial_values(self, side: int, count: int) -> FloatArray:
        """Return zeros for a side that is resampled, else the side's values `count` times."""
        import numpy as np

        values = self._values[side]
        if self._means[side]:
            return np.zeros((count, *values.shape))
        return np.repeat(values[None], count, axis=0)


def _add_resampled_means(
    targets: Sequence[tuple[FloatArray, ImageMean]], stream: RandomState, count: int
) -> None:
    """Add the means over one test part, in `count` resamples, to their arrays ``(count, R, S)``."""
    import numpy as np

    # All means in one product, so that every point sees the same draws.
    values = np.stack([mean.values for _, mean in targets], axis=-1)
    weights = np.stack([mean.weights for _, mean in targets], axis=-1)
    size = len(values)
    for resamples, counts in draw_counts(stream, size, count):
        # A resample that holds only samples without a value has no mean: 0 / 0 is NaN there.
        with np.errstate(invalid="ignore"):
            means = (counts @ values) / (counts @ weights)
        for (side, mean), resampled in zip(targets, means.T, strict=True):
            side[resamples, *mean.index] += resampled / mean.mean_count


def _image_means(column: Column, groups: Sequence[Sequence[ResultGroup]]) -> list[ImageMean]:
    """Return the image means of a side, given its groups by point and reference.

    The list is empty if a value of the side is not a mean over images.
    """
    means: list[ImageMean] = []
    for point, by_reference in enumerate(groups):
        for reference, group in enumerate(by_reference):
            parts = _mean_parts(group, column.metric or "")
            if not parts:
                return []
            for part in parts:
                means.append(ImageMean((reference, point), len(parts), *part))
    return means


def _mean_parts(group: ResultGroup, metric: str) -> list[tuple[str, FloatArray, FloatArray]]:
    """Return test id, values and weights of each result's mean over images.

    Shares are counted together, as one part for all results. The list is empty without values per
    image.
    """
    import numpy as np

    if all(metric in result.sample_outcomes for result in group):
        outcomes = np.array([result.sample_outcomes[metric].to_array() for result in group])
        robust_counts = (outcomes == int(Outcome.ROBUST)).sum(axis=0, dtype=np.float64)
        weights = np.full(len(robust_counts), float(len(group)))
        return [(group[0].test_id, robust_counts, weights)]
    if all(metric in result.image_values for result in group):
        return [
            (result.test_id, *_weighted_values(result.image_values[metric])) for result in group
        ]
    return []


def _weighted_values(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return values (rounded to multiples of a step) and weights, both 0 where a value is NaN."""
    import numpy as np

    has_value = ~np.isnan(values)
    filled = np.where(has_value, values, 0.0)
    # N values below 2 ** exponent sum to less than 2 ** (exponent + bits of N). In steps of this
    # bound divided by 2 ** MANTISSA_BITS every partial sum is exact, so its order (and the
    # machine's BLAS) cannot change it.
    exponent = np.frexp(np.abs(filled).max())[1]
    step = np.ldexp(1.0, exponent + len(filled).bit_length() - MANTISSA_BITS)
    return np.round(filled / step) * step, has_value.astype(np.float64)


def draw_counts(stream: RandomState, size: int, count: int) -> Iterator[tuple[slice, FloatArray]]:
    """Yield a slice of the resamples and the count of each image in them, ``(resamples, size)``.

    All `count` resamples at once would need `count * size` floats.
    """
    import numpy as np

    for start in range(0, count, DRAWS_PER_CHUNK):
        stop = min(count, start + DRAWS_PER_CHUNK)
        draws = stream.randint(0, size, size=(stop - start, size))
        counts = [np.bincount(draw, minlength=size) for draw in draws]
        yield slice(start, stop), np.array(counts, dtype=np.float64)
