from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray

from advtransfer.statistics import (
    COEFFICIENTS,
    Coefficient,
    all_associations,
    chance_levels,
    leave_one_out,
)
from advtransfer.statistics.correlation import Association, least_rank_p

Values: TypeAlias = "NDArray[np.float64]"

X = np.array([[1.0, 2.0, 3.0, 4.0]])
Y = np.array([[1.0, 2.0, 4.0, 3.0]])


@pytest.mark.parametrize(
    ("y", "coefficient", "p"),
    [
        (X, "Pearson", 2 / 24),  # the order seen and its mirror
        (X, "Kendall", 2 / 24),
        (
            Y,
            "Kendall",
            8 / 24,
        ),  # at most one pair out of place, or at most one in place: 1 + 3, twice
        (
            Y,
            "Spearman",
            8 / 24,
        ),  # sum of squared rank differences at most 2, or at least 18: 1 + 3, twice
    ],
)
def test_exact_permutation_p_of_four_points(y: Values, coefficient: Coefficient, p: float) -> None:
    assert p == pytest.approx(all_associations(X, y, seed=0)[coefficient].p)


def test_coefficients_are_computed_within_each_reference_then_averaged() -> None:
    x = np.array([[1.0, 2.0, 3.0, 4.0], [100.0, 200.0, 400.0, 300.0]])
    y = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])

    assert 0.9 == pytest.approx(all_associations(x, y, seed=0)["Spearman"].value)
    # the order seen gives (1 + .8) / 2; so does the one with the last two swapped, and their mirrors as much below 0
    assert 4 / 24 == pytest.approx(all_associations(x, y, seed=0)["Spearman"].p)


def test_the_value_without_each_point_tells_what_it_rests_on() -> None:
    x = np.array([[0.0, 1.0, 0.0, 1.0, 10.0]])
    y = np.array([[1.0, 0.0, 0.0, 1.0, 10.0]])
    value = all_associations(x, y, seed=0)["Pearson"].value

    assert value is not None
    assert value > 0.98
    assert 5 == len(leave_one_out(x, y))
    assert 0.0 == pytest.approx(leave_one_out(x, y)[4], abs=1e-12)
    assert () == leave_one_out(x[:, :3], y[:, :3])


def test_few_points_or_none_that_differ_have_no_coefficient() -> None:
    assert Association(None) == all_associations(X[:, :2], Y[:, :2], seed=0)["Pearson"]
    assert Association(None) == all_associations(X, np.ones_like(X), seed=0)["Kendall"]
    assert all_associations(X[:, :3], Y[:, :3], seed=0)["Pearson"].interval is None


def test_the_interval_holds_the_value_and_depends_on_the_seed_alone() -> None:
    draws = np.random.RandomState(1)
    x = draws.standard_normal((1, 12))
    y = x + draws.standard_normal((1, 12))
    first, again, other = (all_associations(x, y, seed=seed)["Pearson"] for seed in (7, 7, 8))

    assert first == again
    assert first.interval != other.interval
    assert first.interval is not None
    assert first.value is not None
    assert first.interval[0] < first.value < first.interval[1]


def test_beyond_eight_points_p_counts_the_order_seen_among_random_ones() -> None:
    x = np.arange(9.0)[None]
    found = all_associations(x, x, seed=0)["Pearson"]

    assert found.p is not None
    assert 1e-4 <= found.p <= 4e-4
    assert round(found.p * 10_000) == pytest.approx(found.p * 10_000, abs=1e-9)
    assert 1e-4 == pytest.approx(found.smallest_p)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_the_least_p_is_that_of_the_order_seen_and_its_mirror_where_there_is_one(
    coefficient: Coefficient,
) -> None:
    uneven = np.array([[0.0, 1.0, 3.0, 7.0, 20.0]])
    two, other = (
        np.tile(uneven, (2, 1)),
        np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 3.0, 4.0, 5.0]]),
    )
    once = all_associations(uneven, uneven**2, seed=0)[coefficient]
    apart = all_associations(other, other, seed=0)[coefficient]

    assert once.p == pytest.approx(once.smallest_p)
    assert (1 if coefficient == "Pearson" else 2) / 120 == pytest.approx(once.smallest_p)
    assert once.smallest_p == pytest.approx(
        all_associations(two, other, seed=0)[coefficient].smallest_p
    )
    assert apart.p == pytest.approx(apart.smallest_p)
    assert 1 / 120 == pytest.approx(apart.smallest_p)


def test_what_the_values_average_over_is_resampled_too() -> None:
    points = np.arange(6.0)[None]

    def noisy(stream: RandomState, count: int) -> tuple[Values, Values]:
        return points + 3 * stream.standard_normal((count, 1, 6)), points[None]

    assert (1.0, 1.0) == pytest.approx(all_associations(points, points, seed=0)["Pearson"].interval)
    wide = all_associations(points, points, seed=0, resampled=noisy)["Pearson"].interval
    assert wide is not None
    assert wide[0] < 0.5


def test_resamples_without_a_value_are_left_out_of_the_interval() -> None:
    points = np.arange(6.0)[None]

    def partly(stream: RandomState, count: int) -> tuple[Values, Values]:
        drawn = np.repeat(points[None], count, axis=0)
        drawn[::3, 0, 2] = np.nan
        return drawn, points[None]

    for coefficient in COEFFICIENTS:
        assert (1.0, 1.0) == pytest.approx(
            all_associations(points, points, seed=0, resampled=partly)[coefficient].interval
        )


def test_chance_levels_are_those_of_all_orders() -> None:
    """Three points: Spearman's coefficients of the six orders are 1, .5, .5, -.5, -.5 and -1."""
    levels = chance_levels(np.array([[5.0, 1.0, 2.0]]), seed=0)

    assert 4 / 6 == pytest.approx(levels["Spearman"].mean)
    assert 1.0 == pytest.approx(levels["Spearman"].bound)
    # Kendall's are 1, 1/3, 1/3, -1/3, -1/3 and -1.
    assert 10 / 18 == pytest.approx(levels["Kendall"].mean)
    # The same in two equal rows, and none for two points or without spread.
    assert chance_levels(np.array([[5.0, 1.0, 2.0]] * 2), seed=0) == pytest.approx(levels)
    assert {} == chance_levels(np.array([[5.0, 1.0]]), seed=0)
    assert {} == chance_levels(np.ones((1, 5)), seed=0)


def test_random_rankings_stay_within_their_bound_in_95_of_100_orders() -> None:
    outcome = np.sqrt(np.arange(12.0))[None]
    level = chance_levels(outcome, seed=0)["Pearson"]
    draws = np.random.RandomState(1)
    sizes = np.array(
        [abs(np.corrcoef(draws.permutation(12), outcome[0])[0, 1]) for _ in range(4000)]
    )

    assert 0.95 == pytest.approx((sizes <= level.bound).mean(), abs=0.015)
    assert level.mean == pytest.approx(sizes.mean(), rel=0.05)


def test_interval_needs_six_points() -> None:
    points = np.arange(6.0)[None]

    assert all_associations(points[:, :5], points[:, :5], seed=0)["Pearson"].interval is None
    assert all_associations(points, points, seed=0)["Pearson"].interval is not None


@pytest.mark.parametrize(("points", "least"), [(3, 2 / 6), (5, 2 / 120), (9, 1e-4)])
def test_least_rank_p_is_that_of_a_perfect_order(points: int, least: float) -> None:
    perfect = np.arange(float(points))[None]

    assert least == pytest.approx(least_rank_p(points))
    assert least == pytest.approx(all_associations(perfect, perfect, seed=0)["Spearman"].smallest_p)
