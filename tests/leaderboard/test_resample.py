"""Test images drawn again: shares in whole numbers, means with the samples that they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray

from advtransfer.leaderboard.questions_coefficients import ImageBootstrap
from advtransfer.leaderboard.questions_points import QuestionPoint, QuestionPoints
from advtransfer.leaderboard.run_data import Metric, ResultData
from advtransfer.leaderboard.table_rows import Column
from advtransfer.result.record import pack_outcomes
from advtransfer.result.verdict import Verdict

Values: TypeAlias = "NDArray[np.float64]"

ALPHA, CLEAN = (
    Column("align.alpha", "align", "alpha"),
    Column("clean.accuracy", "clean", "accuracy"),
)
STEP = 2.0 ** (
    19 + 10 - 53
)  # of 997 values, which is below 2 ** 10, the largest of them below 2 ** 19
UNCHECKED = Verdict("unchecked", "no evidence was asked for")
PLAIN = ResultData("plain", {"accuracy": Metric(0.5, 0.5)}, UNCHECKED)


def share(outcomes: Sequence[int]) -> ResultData:
    robust = outcomes.count(0) / len(outcomes)
    metrics = {"accuracy": Metric(robust, robust, len(outcomes))}
    return ResultData(
        "share", metrics, UNCHECKED, test_id="t", outcomes={"accuracy": pack_outcomes(outcomes)}
    )


def mean(values: Values | None, value: float = 0.5, *, test: str = "t") -> ResultData:
    found = value if values is None else float(np.nanmean(values))
    means = {} if values is None else {"alpha": values}
    return ResultData(
        "mean", {"alpha": Metric(found, found)}, UNCHECKED, test_id=test, image_values=means
    )


def points(
    predictor: Sequence[Sequence[ResultData]], outcome: Sequence[ResultData]
) -> QuestionPoints:
    """One point for each of both: the results that its predictor is the mean of, and its outcome's."""
    both = enumerate(zip(predictor, outcome, strict=True))
    return QuestionPoints(
        ALPHA,
        CLEAN,
        tuple(QuestionPoint(str(place), (tuple(x),), ((y,),), 1, 1) for place, (x, y) in both),
        {},
    )


def counts(size: int, count: int) -> Values:
    """How often each image is in each of the first draws of the stream."""
    return np.array(
        [
            np.bincount(one, minlength=size)
            for one in RandomState(0).randint(0, size, size=(count, size))
        ]
    )


def test_a_mean_is_drawn_with_the_counts_of_the_shares_of_its_test_part() -> None:
    outcomes = [[0] * right + [1] * (40 - right) for right in (10, 20, 30)]
    asked = points(
        [[mean(np.array([float(one == 0) for one in told]))] for told in outcomes],
        list(map(share, outcomes)),
    )

    first, second = ImageBootstrap(asked)(RandomState(0), 50)

    assert (first == second).all()
    assert np.ptp(first, axis=0).min() > 0


def test_samples_that_are_left_out_have_no_weight_and_several_results_are_averaged() -> None:
    some, others = np.array([1.0, np.nan, 3.0, 7.0, 0.1]), np.array([np.nan, 2.0, 5.0, 1.0, 0.3])
    asked = points([[mean(some), mean(others)]], [PLAIN])
    drawn, _ = ImageBootstrap(asked)(RandomState(0), 60)
    times = counts(5, 60)

    expected = np.mean(
        [times @ np.nan_to_num(one) / (times @ ~np.isnan(one)) for one in (some, others)], axis=0
    )

    assert np.allclose(expected, drawn[:, 0, 0], rtol=1e-12)


def test_a_mean_varies_as_its_standard_error_says() -> None:
    values = RandomState(1).standard_normal(400)
    drawn, _ = ImageBootstrap(points([[mean(values)]], [PLAIN]))(RandomState(0), 1000)

    assert values.std() / 20 == pytest.approx(drawn.std(), rel=0.1)
    assert values.mean() == pytest.approx(drawn.mean(), abs=0.01)


def test_points_that_are_equal_stay_equal_to_the_last_bit() -> None:
    values = RandomState(1).standard_normal((5, 997)) * 1e5
    equal, others = mean(values[0]), [mean(one) for one in values]
    asked = points([[one] for one in (equal, *others[1:], equal, *others[1:], equal)], [PLAIN] * 11)
    drawn, _ = ImageBootstrap(asked)(RandomState(0), 100)
    steps = [int(one) for one in np.round(values[0] / STEP)]
    exact = [
        sum(int(times) * step for times, step in zip(one, steps, strict=True))
        for one in counts(997, 100)
    ]

    assert (drawn[:, 0, 0] == drawn[:, 0, 5]).all()
    assert (drawn[:, 0, 0] == drawn[:, 0, 10]).all()
    assert 2.0**18 <= np.abs(values[0]).max() < 2.0**19
    assert [one * STEP / 997 for one in exact] == drawn[:, 0, 0].tolist()


def test_a_draw_of_nothing_but_samples_that_are_left_out_has_no_value() -> None:
    drawn, _ = ImageBootstrap(points([[mean(np.array([0.5, np.nan, np.nan]))]], [PLAIN]))(
        RandomState(0), 60
    )
    empty = counts(3, 60)[:, 0] == 0

    assert empty.any()
    assert np.isnan(drawn[empty]).all()
    assert (drawn[~empty] == 0.5).all()


def test_each_test_part_is_drawn_by_itself() -> None:
    values = np.arange(10.0)
    asked = points(
        [[mean(values, test="a")], [mean(values, test="a")], [mean(values, test="b")]], [PLAIN] * 3
    )
    drawn, _ = ImageBootstrap(asked)(RandomState(0), 20)

    assert (drawn[:, 0, 0] == drawn[:, 0, 1]).all()
    assert (drawn[:, 0, 0] != drawn[:, 0, 2]).any()


def test_a_side_with_one_value_that_is_no_mean_over_images_stays_and_is_named() -> None:
    values = np.arange(4.0)
    redraw = ImageBootstrap(
        points([[mean(values)], [mean(None, 0.7)]], [share([0, 1, 1, 0]), share([0, 0, 0, 1])])
    )
    predictor, outcome = redraw(RandomState(0), 30)

    assert ("align.alpha",) == redraw.fixed_columns
    assert (predictor == np.array([1.5, 0.7])).all()
    assert np.ptp(outcome, axis=0).min() > 0
