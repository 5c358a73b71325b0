"""Test images drawn again: what the values of points would have been on other images like these.

All points that were measured on one test part see the same draw of it, since they share its easy and hard images.
Outcomes are counted in whole numbers, and other values rounded just as far as sums over a draw need to have no rounding
error: points that are equal stay equal, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.columns import Column
from advtransfer.leaderboard.points import Points, Sampled
from advtransfer.result.record import unpacked
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from numpy.random import RandomState

    from advtransfer.statistics.correlation import Values

CHUNK = 100
DIGITS = 53  # binary ones, of a float64


@dataclass(frozen=True, slots=True)
class Mean:
    """``sum(values) / sum(weights)`` over the images of a test part, ``(N,)`` each.

    The value of a side at ``[reference, point]`` is the mean of `of` such means.
    """

    at: tuple[int, int]
    of: int
    test: str
    values: Values
    weights: Values


class Redraw:
    """Draws the images of both sides again; a side that is no mean over images stays as it is, and is in `fixed`."""

    def __init__(self, points: Points) -> None:
        self._values = points.values
        self._means = (
            _means(points.predictor, [point.predictor for point in points.points]),
            _means(points.outcome, [point.outcome for point in points.points]),
        )
        columns = (points.predictor, points.outcome)
        self.fixed = tuple(one.name for one, means in zip(columns, self._means, strict=True) if not means)

    def __call__(self, stream: RandomState, count: int) -> tuple[Values, Values]:
        """Both sides as ``(count, R, S)``."""
        import numpy as np

        first, second = (
            np.zeros((count, *side.shape)) if means else np.repeat(side[None], count, axis=0)
            for side, means in zip(self._values, self._means, strict=True)
        )
        every = [(side, one) for side, means in zip((first, second), self._means, strict=True) for one in means]
        for test, size in sorted({(one.test, len(one.values)) for _, one in every}):
            there = [(side, one) for side, one in every if (one.test, len(one.values)) == (test, size)]
            values = np.stack([one.values for _, one in there], axis=-1)
            weights = np.stack([one.weights for _, one in there], axis=-1)
            for places, counts in _counts(stream, size, count):
                with np.errstate(invalid="ignore"):  # a draw of nothing but samples that are left out has no mean
                    found = (counts @ values) / (counts @ weights)
                for (side, one), drawn in zip(there, found.T, strict=True):
                    side[places, *one.at] += drawn / one.of
        return first, second


def _means(column: Column, rows: Sequence[Sequence[Sampled]]) -> list[Mean]:
    """What the values of a side, by point and reference, are means of; nothing where one is no mean over images."""
    found: list[Mean] = []
    for point, row in enumerate(rows):
        for reference, sampled in enumerate(row):
            parts = _parts(sampled, column.metric or "")
            if not parts:
                return []
            found += [Mean((reference, point), len(parts), *part) for part in parts]
    return found


def _parts(sampled: Sampled, metric: str) -> list[tuple[str, Values, Values]]:
    """Test part, values and weights of each result; of shares, which are counted together, of all results at once."""
    import numpy as np

    if all(metric in answer.outcomes for answer in sampled):
        outcomes = np.array([unpacked(answer.outcomes[metric]) for answer in sampled])
        robust = (outcomes == int(Outcome.ROBUST)).sum(axis=0, dtype=np.float64)
        return [(sampled[0].test, robust, np.full(len(robust), float(len(sampled))))]
    if all(metric in answer.means for answer in sampled):
        return [(answer.test, *_weighted(answer.means[metric])) for answer in sampled]
    return []


def _weighted(values: Values) -> tuple[Values, Values]:
    """Values and weights, both 0 where a value is NaN; each value is rounded to a whole number of steps.

    A step is such that the sum of as many values, in any order, is below ``2 ** DIGITS`` of them, and thus exact.
    """
    import numpy as np

    taken = ~np.isnan(values)
    there = np.where(taken, values, 0.0)
    step = np.ldexp(1.0, np.frexp(np.abs(there).max())[1] + len(there).bit_length() - DIGITS)
    return np.round(there / step) * step, taken.astype(np.float64)


def _counts(stream: RandomState, size: int, count: int) -> Iterator[tuple[slice, Values]]:
    """How often each image is drawn when `size` are drawn with replacement, some draws at a time."""
    import numpy as np

    for start in range(0, count, CHUNK):
        places = slice(start, min(count, start + CHUNK))
        draws = stream.randint(0, size, size=(places.stop - places.start, size))
        yield places, np.array([np.bincount(draw, minlength=size) for draw in draws], dtype=np.float64)
