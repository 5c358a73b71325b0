"""Intervals against known answers, against SciPy's own, and against what they promise: coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from advtransfer.statistics import (
    MeanEstimate,
    clustered_interval,
    mean_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "of"), [(0, 1), (1, 1), (0, 269), (269, 269), (103, 269), (5, 10)]
)
def test_wilson_agrees_with_scipy(successes: int, of: int) -> None:
    known = stats.binomtest(successes, of).proportion_ci(method="wilson")

    assert (known.low, known.high) == pytest.approx(wilson_interval(successes, of), abs=1e-12)


def test_wilson_knows_the_textbook_case() -> None:
    assert (0.4038, 0.5962) == pytest.approx(wilson_interval(50, 100), abs=5e-5)


def test_wilson_stays_within_0_and_1_at_the_ends() -> None:
    assert (0.0, 1.0) == (wilson_interval(0, 7)[0], wilson_interval(7, 7)[1])


@pytest.mark.parametrize(("successes", "of"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(successes: int, of: int) -> None:
    with pytest.raises(ValueError, match=f"found {successes} successes of {of}"):
        wilson_interval(successes, of)


def test_the_t_interval_over_three_seeds_is_the_known_one() -> None:
    estimate = mean_interval([1.0, 2.0, 3.0])  # t(2, 0.975) = 4.302653, s / sqrt(3) = 0.577350

    assert estimate.interval == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    assert (2.0, 3, None) == (estimate.mean, estimate.units, estimate.reason)


def test_the_confidence_is_what_was_asked_for() -> None:
    values = [0.1, 0.4, 0.2, 0.9, 0.5]
    known = stats.t.interval(0.8, 4, np.mean(values), stats.sem(values))

    assert tuple(known) == pytest.approx(mean_interval(values, confidence=0.8).interval, abs=1e-12)


def test_one_value_and_values_without_spread_have_no_interval_and_say_why() -> None:
    assert MeanEstimate(0.3, None, 1, "one value") == mean_interval([0.3])
    assert MeanEstimate(0.3, None, 5, "no spread") == mean_interval([0.3] * 5)


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_what_is_not_finite_is_never_averaged(values: list[float]) -> None:
    with pytest.raises(ValueError, match="expected at least one, all finite"):
        mean_interval(values)


def test_no_number_depends_on_the_order_of_the_values() -> None:
    values = [1e16, 1.0, -1e16, 0.1, 3.7, 1e-9] * 5

    assert mean_interval(values) == mean_interval(sorted(values)) == mean_interval(reversed(values))


def test_a_cluster_is_one_unit_however_many_values_it_holds() -> None:
    groups = {"first training": [1.0, 1.0, 1.0, 1.0], "second": [2.0], "third": [2.5, 3.5]}

    assert mean_interval([1.0, 2.0, 3.0]) == clustered_interval(groups)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_t_interval_over_a_few_seeds_covers_as_often_as_it_says(seeds: int) -> None:
    draws = np.random.default_rng(0).normal(0.7, 0.05, size=(2000, seeds))
    intervals = [mean_interval(draw.tolist()).interval for draw in draws]

    covered = sum(
        interval is not None and interval[0] <= 0.7 <= interval[1] for interval in intervals
    )

    assert 0.935 < covered / 2000 < 0.965


def test_clustering_covers_where_counting_every_value_does_not() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(0.0, 1.0, size=(500, 3, 1))
    draws = (shared + generator.normal(0.0, 0.3, size=(500, 3, 5))).tolist()

    clustered = [clustered_interval(dict(enumerate(draw))).interval for draw in draws]
    naive = [mean_interval([value for group in draw for value in group]).interval for draw in draws]

    def coverage(intervals: list[tuple[float, float] | None]) -> float:
        return (
            sum(interval is not None and interval[0] <= 0 <= interval[1] for interval in intervals)
            / 500
        )

    assert 0.92 < coverage(clustered) < 0.98
    assert coverage(naive) < 0.75
