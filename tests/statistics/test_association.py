from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray

from advtransfer.statistics import Coefficient, associations
from advtransfer.statistics.association import Association

Values: TypeAlias = "NDArray[np.float64]"

X = np.array([[1.0, 2.0, 3.0, 4.0]])
Y = np.array([[1.0, 2.0, 4.0, 3.0]])


@pytest.mark.parametrize(
    ("y", "coefficient", "p"),
    [
        (X, "Pearson", 2 / 24),  # the order seen and its mirror
        (X, "Kendall", 2 / 24),
        (Y, "Kendall", 8 / 24),  # at most one pair out of place, or at most one in place: 1 + 3, twice
        (Y, "Spearman", 8 / 24),  # sum of squared rank differences at most 2, or at least 18: 1 + 3, twice
    ],
)
def test_exact_permutation_p_of_four_points(y: Values, coefficient: Coefficient, p: float) -> None:
    assert p == pytest.approx(associations(X, y, seed=0)[coefficient].p)


def test_coefficients_are_computed_within_each_reference_then_averaged() -> None:
    x = np.array([[1.0, 2.0, 3.0, 4.0], [100.0, 200.0, 400.0, 300.0]])
    y = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])

    assert 0.9 == pytest.approx(associations(x, y, seed=0)["Spearman"].value)
    # the order seen gives (1 + .8) / 2; so does the one with the last two swapped, and their mirrors as much below 0
    assert 4 / 24 == pytest.approx(associations(x, y, seed=0)["Spearman"].p)


def test_the_value_without_each_point_tells_what_it_rests_on() -> None:
    x = np.array([[0.0, 1.0, 0.0, 1.0, 10.0]])
    y = np.array([[1.0, 0.0, 0.0, 1.0, 10.0]])
    found = associations(x, y, seed=0)["Pearson"]

    assert found.value is not None
    assert found.value > 0.98
    assert 0.0 == pytest.approx(found.without[4], abs=1e-12)


def test_few_points_or_none_that_differ_have_no_coefficient() -> None:
    assert Association(None) == associations(X[:, :2], Y[:, :2], seed=0)["Pearson"]
    assert Association(None) == associations(X, np.ones_like(X), seed=0)["Kendall"]
    assert associations(X[:, :3], Y[:, :3], seed=0)["Pearson"].interval is None


def test_the_interval_holds_the_value_and_depends_on_the_seed_alone() -> None:
    draws = np.random.RandomState(1)
    x = draws.standard_normal((1, 12))
    y = x + draws.standard_normal((1, 12))
    first, again, other = (associations(x, y, seed=seed)["Pearson"] for seed in (7, 7, 8))

    assert first == again
    assert first.interval != other.interval
    assert first.interval is not None
    assert first.value is not None
    assert first.interval[0] < first.value < first.interval[1]


def test_beyond_eight_points_p_counts_the_order_seen_among_random_ones() -> None:
    x = np.arange(9.0)[None]

    assert associations(x, x, seed=0)["Pearson"].p == pytest.approx(1 / 10_000, abs=3 / 10_000)


def test_what_the_values_average_over_is_resampled_too() -> None:
    points = np.arange(6.0)[None]

    def noisy(stream: RandomState, count: int) -> tuple[Values, Values]:
        return points + 3 * stream.standard_normal((count, 1, 6)), points[None]

    assert (1.0, 1.0) == pytest.approx(associations(points, points, seed=0)["Pearson"].interval)
    wide = associations(points, points, seed=0, resampled=noisy)["Pearson"].interval
    assert wide is not None
    assert wide[0] < 0.5
