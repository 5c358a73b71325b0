from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from advtransfer.statistics import COEFFICIENTS, Coefficient
from advtransfer.statistics.correlation import correlation_coefficient, reordered_coefficients

X = np.array([1.0, 2.0, 3.0, 4.0])
REFERENCES = {"Pearson": stats.pearsonr, "Spearman": stats.spearmanr, "Kendall": stats.kendalltau}


@pytest.mark.parametrize(
    ("coefficient", "value"), [("Pearson", 0.8), ("Spearman", 0.8), ("Kendall", 4 / 6)]
)
def test_coefficients_computed_by_hand(coefficient: Coefficient, value: float) -> None:
    assert value == pytest.approx(
        float(correlation_coefficient(coefficient, X, np.array([1.0, 2.0, 4.0, 3.0])))
    )


def test_pearsons_coefficient_with_uneven_steps_by_hand() -> None:
    x, y = np.array([0.0, 0.0, 3.0]), np.array([0.0, 3.0, 3.0])

    assert 0.5 == pytest.approx(float(correlation_coefficient("Pearson", x, y)))


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_ties_are_treated_as_scipy_treats_them(coefficient: Coefficient) -> None:
    draws = np.random.RandomState(0)
    x, y = (draws.randint(0, 5, size=(20, 7)).astype(float) for _ in range(2))

    expected = [float(REFERENCES[coefficient](a, b).statistic) for a, b in zip(x, y, strict=True)]

    assert np.allclose(expected, correlation_coefficient(coefficient, x, y), atol=1e-12)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_many_orders_at_once_give_what_each_gives(coefficient: Coefficient) -> None:
    draws = np.random.RandomState(0)
    x, y = draws.standard_normal((2, 6)), draws.randint(0, 4, size=(2, 6)).astype(float)
    orders = np.array([draws.permutation(6) for _ in range(50)])

    expected = [correlation_coefficient(coefficient, x, y[:, places]) for places in orders]

    assert np.allclose(expected, reordered_coefficients(coefficient, x, y, orders), atol=1e-12)
    assert np.isnan(reordered_coefficients(coefficient, x, np.ones_like(y), orders)).all()


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_a_side_without_spread_has_no_coefficient(coefficient: Coefficient) -> None:
    assert np.isnan(correlation_coefficient(coefficient, X, np.full(4, 0.1 + 0.2)))


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_values_that_differ_by_rounding_alone_have_no_coefficient(coefficient: Coefficient) -> None:
    equal = np.array([0.1 + 0.2, 0.3, 0.3, 0.3])
    orders = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])

    assert equal[0] != equal[1]
    assert np.isnan(correlation_coefficient(coefficient, X, equal))
    assert np.isnan(correlation_coefficient(coefficient, equal, X))
    assert np.isnan(reordered_coefficients(coefficient, X[None], equal[None], orders)).all()
    # Of two rows, only the one without spread has none.
    rows = np.stack([equal, X])
    assert np.isnan(correlation_coefficient(coefficient, np.stack([X, X]), rows)).tolist() == [
        True,
        False,
    ]


def test_an_infinite_value_has_the_largest_rank() -> None:
    largest = np.array([1.0, 2.0, 3.0, np.inf])

    assert correlation_coefficient("Spearman", X, largest) == pytest.approx(1.0)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_the_order_of_the_points_does_not_matter(coefficient: Coefficient) -> None:
    y, places = np.array([0.3, 0.1, 0.9, 0.4]), [2, 0, 3, 1]

    assert float(correlation_coefficient(coefficient, X, y)) == pytest.approx(
        float(correlation_coefficient(coefficient, X[places], y[places]))
    )


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_a_value_that_is_no_number_leaves_no_coefficient(coefficient: Coefficient) -> None:
    unknown = np.array([1.0, np.nan, 3.0, 4.0])

    assert np.isnan(correlation_coefficient(coefficient, X, unknown))
    assert np.isnan(correlation_coefficient(coefficient, unknown, X))
    assert 1.0 == pytest.approx(correlation_coefficient(coefficient, np.stack([X, unknown]), X)[0])
