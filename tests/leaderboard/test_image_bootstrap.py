"""Bootstrap over test images: shares in whole numbers, means without missing values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray

from advtransfer.leaderboard.image_bootstrap import ImageBootstrap
from advtransfer.leaderboard.questions_points import QuestionPoint, QuestionPoints
from advtransfer.leaderboard.result_data import Metric, ResultData
from advtransfer.leaderboard.table_rows import Column
from advtransfer.result.outcomes import outcomes_from_values
from advtransfer.result.verdict import Verdict

Values: TypeAlias = "NDArray[np.float64]"

ALPHA, CLEAN = (
    Column("align.alpha", "align", "alpha"),
    Column("clean.accuracy", "clean", "accuracy"),
)
STEP = 2.0 ** (
    19 + 10 - 53
)  # of 997 values, which is below 2 ** 10, the largest of them below 2 ** 19
UNCHECKED = Verdict("unchecked", "no evidence was question_points for")
PLAIN = ResultData("plain", {"accuracy": Metric(0.5, 0.5)}, UNCHECKED)


def share(outcomes: Sequence[int]) -> ResultData:
    robust = outcomes.count(0) / len(outcomes)
    metrics = {"accuracy": Metric(robust, robust, len(outcomes))}
    sets = {"accuracy": outcomes_from_values(outcomes)}
    return ResultData("share", metrics, UNCHECKED, test_id="t", sample_outcomes=sets)


def mean(values: Values | None, value: float = 0.5, *, test: str = "t") -> ResultData:
    metric = value if values is None else float(np.nanmean(values))
    means = {} if values is None else {"alpha": values}
    return ResultData(
        "mean", {"alpha": Metric(metric, metric)}, UNCHECKED, test_id=test, image_values=means
    )


def points(
    predictor: Sequence[Sequence[ResultData]], outcome: Sequence[ResultData]
) -> QuestionPoints:
    """Return one point per predictor group and outcome result."""
    both = enumerate(zip(predictor, outcome, strict=True))
    return QuestionPoints(
        ALPHA,
        CLEAN,
        tuple(QuestionPoint(str(place), (tuple(x),), ((y,),), 1, 1) for place, (x, y) in both),
        {},
    )


def counts(size: int, count: int) -> Values:
    """Return how often each image occurs in each of the first resamples of the stream."""
    return np.array(
        [
            np.bincount(draw, minlength=size)
            for draw in RandomState(0).randint(0, size, size=(count, size))
        ]
    )


def test_mean_and_share_of_a_test_part_use_the_same_resample() -> None:
    outcomes = [[0] * right + [1] * (40 - right) for right in (10, 20, 30)]
    question_points = points(
        [[mean(np.array([float(outcome == 0) for outcome in model]))] for model in outcomes],
        list(map(share, outcomes)),
    )

    first, second = ImageBootstrap(question_points)(RandomState(0), 50)

    assert (first == second).all()
    assert np.ptp(first, axis=0).min() > 0


def test_samples_without_a_value_have_no_weight_and_results_are_averaged() -> None:
    some, others = np.array([1.0, np.nan, 3.0, 7.0, 0.1]), np.array([np.nan, 2.0, 5.0, 1.0, 0.3])
    question_points = points([[mean(some), mean(others)]], [PLAIN])
    drawn, _ = ImageBootstrap(question_points)(RandomState(0), 60)
    times = counts(5, 60)

    expected = np.mean(
        [times @ np.nan_to_num(values) / (times @ ~np.isnan(values)) for values in (some, others)],
        axis=0,
    )

    assert np.allclose(expected, drawn[:, 0, 0], rtol=1e-12)


def test_resampled_mean_varies_by_its_standard_error() -> None:
    values = RandomState(1).standard_normal(400)
    drawn, _ = ImageBootstrap(points([[mean(values)]], [PLAIN]))(RandomState(0), 1000)

    assert values.std() / 20 == pytest.approx(drawn.std(), rel=0.1)
    assert values.mean() == pytest.approx(drawn.mean(), abs=0.01)


def test_equal_points_stay_equal_to_the_last_bit() -> None:
    values = RandomState(1).standard_normal((5, 997)) * 1e5
    equal, others = mean(values[0]), [mean(row) for row in values]
    question_points = points(
        [[result] for result in (equal, *others[1:], equal, *others[1:], equal)], [PLAIN] * 11
    )
    drawn, _ = ImageBootstrap(question_points)(RandomState(0), 100)
    steps = [int(step) for step in np.round(values[0] / STEP)]
    exact = [
        sum(int(times) * step for times, step in zip(image_counts, steps, strict=True))
        for image_counts in counts(997, 100)
    ]

    assert (drawn[:, 0, 0] == drawn[:, 0, 5]).all()
    assert (drawn[:, 0, 0] == drawn[:, 0, 10]).all()
    assert 2.0**18 <= np.abs(values[0]).max() < 2.0**19
    assert [total * STEP / 997 for total in exact] == drawn[:, 0, 0].tolist()


def test_resample_of_only_samples_without_a_value_is_nan() -> None:
    drawn, _ = ImageBootstrap(points([[mean(np.array([0.5, np.nan, np.nan]))]], [PLAIN]))(
        RandomState(0), 60
    )
    empty = counts(3, 60)[:, 0] == 0

    assert empty.any()
    assert np.isnan(drawn[empty]).all()
    assert (drawn[~empty] == 0.5).all()


def test_each_test_part_is_resampled_separately() -> None:
    values = np.arange(10.0)
    question_points = points(
        [[mean(values, test="a")], [mean(values, test="a")], [mean(values, test="b")]], [PLAIN] * 3
    )
    drawn, _ = ImageBootstrap(question_points)(RandomState(0), 20)

    assert (drawn[:, 0, 0] == drawn[:, 0, 1]).all()
    assert (drawn[:, 0, 0] != drawn[:, 0, 2]).any()


def test_side_with_a_value_that_is_no_mean_over_images_is_fixed_and_named() -> None:
    values = np.arange(4.0)
    redraw = ImageBootstrap(
        points([[mean(values)], [mean(None, 0.7)]], [share([0, 1, 1, 0]), share([0, 0, 0, 1])])
    )
    predictor, outcome = redraw(RandomState(0), 30)

    assert ("align.alpha",) == redraw.fixed_columns
    assert (predictor == np.array([1.5, 0.7])).all()
    assert np.ptp(outcome, axis=0).min() > 0
