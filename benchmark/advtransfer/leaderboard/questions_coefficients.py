"""Answers to a suite's questions.

Correlation coefficients with bootstrap intervals and corrected p values.

The bootstrap also redraws test images. All points measured on one test part see the same draw of it, since they share
its easy and hard images. Outcomes are counted in whole numbers, and other values are rounded so far that sums over a
draw have no rounding error: equal points stay equal on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from advtransfer.leaderboard.questions_config import Question, read_questions
from advtransfer.leaderboard.questions_points import (
    QuestionPoints,
    QuestionScope,
    ResultGroup,
    collect_points,
    trials_by_scope,
)
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import Column, find_column
from advtransfer.result.record import unpack_outcomes
from advtransfer.statistics import (
    COEFFICIENTS,
    Association,
    Coefficient,
    all_associations,
    holm_correction,
    leave_one_out,
)
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from numpy.random import RandomState

    from advtransfer.statistics.correlation import FloatArray


DRAWS_PER_CHUNK = 100
MANTISSA_BITS = 53  # binary ones, of a float64


@dataclass(frozen=True, slots=True)
class ImageMean:
    """``sum(values) / sum(weights)`` over the images of a test part, ``(N,)`` each.

    The value of a side at ``[reference, point]`` is the mean of `of` such means.
    """

    index: tuple[int, int]
    mean_count: int
    test_id: str
    values: FloatArray
    weights: FloatArray


class ImageBootstrap:
    """Draws the images of both sides again; a side that is no mean over images stays as it is, and is in `fixed`."""

    def __init__(self, points: QuestionPoints) -> None:
        self._values = points.value_arrays
        self._means = (
            _image_means(points.predictor, [point.predictor for point in points.points]),
            _image_means(points.outcome, [point.outcome for point in points.points]),
        )
        columns = (points.predictor, points.outcome)
        self.fixed_columns = tuple(
            one.name for one, means in zip(columns, self._means, strict=True) if not means
        )

    def __call__(self, stream: RandomState, count: int) -> tuple[FloatArray, FloatArray]:
        """Both sides as ``(count, R, S)``."""
        import numpy as np

        first, second = (
            np.zeros((count, *side.shape)) if means else np.repeat(side[None], count, axis=0)
            for side, means in zip(self._values, self._means, strict=True)
        )
        every = [
            (side, one)
            for side, means in zip((first, second), self._means, strict=True)
            for one in means
        ]
        for test, size in sorted({(one.test_id, len(one.values)) for _, one in every}):
            there = [
                (side, one) for side, one in every if (one.test_id, len(one.values)) == (test, size)
            ]
            values = np.stack([one.values for _, one in there], axis=-1)
            weights = np.stack([one.weights for _, one in there], axis=-1)
            for places, counts in _draw_counts(stream, size, count):
                with np.errstate(
                    invalid="ignore"
                ):  # a draw of nothing but samples that are left out has no mean
                    found = (counts @ values) / (counts @ weights)
                for (side, one), drawn in zip(there, found.T, strict=True):
                    side[places, *one.index] += drawn / one.mean_count
        return first, second


def _image_means(column: Column, rows: Sequence[Sequence[ResultGroup]]) -> list[ImageMean]:
    """What the values of a side, by point and reference, are means of; nothing where one is no mean over images."""
    found: list[ImageMean] = []
    for point, row in enumerate(rows):
        for reference, sampled in enumerate(row):
            parts = _mean_parts(sampled, column.metric or "")
            if not parts:
                return []
            found += [ImageMean((reference, point), len(parts), *part) for part in parts]
    return found


def _mean_parts(sampled: ResultGroup, metric: str) -> list[tuple[str, FloatArray, FloatArray]]:
    """Test part, values and weights of each result; of shares, which are counted together, of all results at once."""
    import numpy as np

    if all(metric in answer.outcomes for answer in sampled):
        outcomes = np.array([unpack_outcomes(answer.outcomes[metric]) for answer in sampled])
        robust = (outcomes == int(Outcome.ROBUST)).sum(axis=0, dtype=np.float64)
        return [(sampled[0].test_id, robust, np.full(len(robust), float(len(sampled))))]
    if all(metric in answer.image_values for answer in sampled):
        return [
            (answer.test_id, *_weighted_values(answer.image_values[metric])) for answer in sampled
        ]
    return []


def _weighted_values(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Values and weights, both 0 where a value is NaN; each value is rounded to a whole number of steps.

    A step is such that the sum of as many values, in any order, is below ``2 ** DIGITS`` of them, and thus exact.
    """
    import numpy as np

    taken = ~np.isnan(values)
    there = np.where(taken, values, 0.0)
    step = np.ldexp(1.0, np.frexp(np.abs(there).max())[1] + len(there).bit_length() - MANTISSA_BITS)
    return np.round(there / step) * step, taken.astype(np.float64)


def _draw_counts(stream: RandomState, size: int, count: int) -> Iterator[tuple[slice, FloatArray]]:
    """How often each image is drawn when `size` are drawn with replacement, some draws at a time."""
    import numpy as np

    for start in range(0, count, DRAWS_PER_CHUNK):
        places = slice(start, min(count, start + DRAWS_PER_CHUNK))
        draws = stream.randint(0, size, size=(places.stop - places.start, size))
        yield (
            places,
            np.array([np.bincount(draw, minlength=size) for draw in draws], dtype=np.float64),
        )


@dataclass(frozen=True, slots=True)
class PredictorResult:
    """What one predictor tells at one place.

    `corrected` are p values held to the number of predictors asked; `without` is Pearson's coefficient without each
    point, where there are enough; `fixed` are the columns that were not resampled over test images.
    """

    points: QuestionPoints
    coefficients: Mapping[Coefficient, Association]
    leave_one_out: tuple[float | None, ...] = ()
    fixed_columns: tuple[str, ...] = ()
    corrected: Mapping[Coefficient, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """The answer to one question: by place, what each predictor tells."""

    question: Question
    predictors: tuple[Column, ...]
    outcome: Column
    results: Mapping[QuestionScope, tuple[PredictorResult, ...]]


def answer_questions(evidence: RunData) -> list[QuestionAnswer]:
    """The answers to every question of the suite.

    Raises:
        BadInput: A metric is not in the records, or fits several.
    """
    return [
        _answer_question(question, evidence)
        for question in read_questions(evidence.plan.leaderboard)
    ]


def _answer_question(question: Question, evidence: RunData) -> QuestionAnswer:
    predictors = tuple(find_column(name, evidence) for name in question.predictors)
    outcome = find_column(question.outcome, evidence)
    there = {
        place: [
            collect_points(question, labelled, predictor=one, outcome=outcome, evidence=evidence)
            for one in predictors
        ]
        for place, labelled in trials_by_scope(question, evidence).items()
    }
    return QuestionAnswer(
        question,
        predictors,
        outcome,
        {place: _corrected_results(points) for place, points in there.items()},
    )


def _corrected_results(asked: list[QuestionPoints]) -> tuple[PredictorResult, ...]:
    found = [_uncorrected_result(points) for points in asked]
    corrected = {
        name: holm_correction([one.coefficients[name].p for one in found]) for name in COEFFICIENTS
    }
    return tuple(
        replace(told, corrected={name: corrected[name][place] for name in COEFFICIENTS})
        for place, told in enumerate(found)
    )


def _uncorrected_result(points: QuestionPoints) -> PredictorResult:
    """What a predictor tells before any is corrected for the others."""
    if not points.points:
        return PredictorResult(points, {name: Association(None) for name in COEFFICIENTS})
    x, y = points.value_arrays
    redraw = ImageBootstrap(points)
    found = all_associations(x, y, seed=_resampling_seed(points), resampled=redraw)
    return PredictorResult(points, found, leave_one_out(x, y), redraw.fixed_columns)


def _resampling_seed(points: QuestionPoints) -> int:
    """What resamples are drawn by: the results alone, so that neither their order nor other questions change them."""
    sampled = [answers for point in points.points for answers in (*point.predictor, *point.outcome)]
    ids = sorted({answer.id for answers in sampled for answer in answers})
    text = "\n".join([points.predictor.name, points.outcome.name, *ids])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
