"""Test images drawn again: what the values of points would have been on other images like these.

All points that were measured on one test part see the same draw of it, since they share its easy and hard images.
Draws and outcomes are counted in whole numbers, so that points that are equal stay equal, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.columns import Column
from advtransfer.leaderboard.points import Points, Sampled, value
from advtransfer.result.record import unpacked
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from numpy.random import RandomState

    from advtransfer.statistics.correlation import Values

CHUNK = 100


@dataclass(frozen=True, slots=True)
class Robust:
    """What one value ``[reference, point]`` is the mean of: in how many of `results` each image is robust, ``(N,)``."""

    reference: int
    point: int
    images: Values
    results: int


@dataclass(frozen=True, slots=True)
class Side:
    """One side of some points: values ``(R, S)``, and by test part what those are made of that are shares of images."""

    values: Values
    images: dict[str, list[Robust]]


def sides(points: Points) -> tuple[Side, Side]:
    """Predictor and outcome."""
    predictor = _side([point.predictor for point in points.points], points.predictor)
    return predictor, _side([point.outcome for point in points.points], points.outcome)


class Redraw:
    """Draws the images of both sides again; a side that is no share of images stays as it is."""

    def __init__(self, predictor: Side, outcome: Side) -> None:
        self._sides = (predictor, outcome)

    def __call__(self, stream: RandomState, count: int) -> tuple[Values, Values]:
        """Both sides as ``(count, R, S)``."""
        import numpy as np

        first, second = (np.repeat(side.values[None], count, axis=0) for side in self._sides)
        for test in sorted({test for side in self._sides for test in side.images}):
            there = [
                (drawn, one)
                for side, drawn in zip(self._sides, (first, second), strict=True)
                for one in side.images.get(test, ())
            ]
            robust = np.stack([one.images for _, one in there], axis=-1)
            for places, counts in _counts(stream, len(robust), count):
                for (drawn, one), found in zip(there, (counts @ robust).T, strict=True):
                    drawn[places, one.reference, one.point] = found / (len(robust) * one.results)
        return first, second


def _side(rows: Iterable[tuple[Sampled, ...]], column: Column) -> Side:
    import numpy as np

    rows = list(rows)
    images: dict[str, list[Robust]] = {}
    for point, row in enumerate(rows):
        for reference, sampled in enumerate(row):
            if all(column.metric in answer.outcomes for answer in sampled):
                robust = Robust(reference, point, _robust(sampled, column), len(sampled))
                images.setdefault(sampled[0].test, []).append(robust)
    return Side(np.array([[value(sampled, column) for sampled in row] for row in rows]).T, images)


def _robust(sampled: Sampled, column: Column) -> Values:
    """How often each test image came out robust, over results that all measure the same images."""
    import numpy as np

    outcomes = [unpacked(answer.outcomes[column.metric or ""]) for answer in sampled]
    return np.asarray((np.array(outcomes) == int(Outcome.ROBUST)).sum(axis=0, dtype=np.float64))


def _counts(stream: RandomState, size: int, count: int) -> Iterator[tuple[slice, Values]]:
    """How often each image is drawn when `size` are drawn with replacement, some draws at a time."""
    import numpy as np

    for start in range(0, count, CHUNK):
        places = slice(start, min(count, start + CHUNK))
        draws = stream.randint(0, size, size=(places.stop - places.start, size))
        yield places, np.array([np.bincount(draw, minlength=size) for draw in draws], dtype=np.float64)
