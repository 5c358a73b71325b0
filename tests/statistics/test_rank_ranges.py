"""Ranges of ranks, power and pairs at once, against Holm by hand, SciPy's noncentral t and single boards."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from advtransfer.statistics import (
    detectable_difference,
    difference_p_value,
    difference_p_values,
    first_holm_level,
    image_differences,
    rank_ranges,
    separation_need,
    separation_power,
    value_differences,
)
from advtransfer.statistics.share_intervals import BoardVariances, board_variances


def variances(
    mean: float = 0.0, *, units: float, count: int, images: float = 0.0
) -> BoardVariances:
    return BoardVariances(mean, units, count, 0.0, count, images, 0.0, 1000 if images else 0)


def test_ranges_count_the_pairs_that_hold_after_holms_correction() -> None:
    means = np.array([0.9, 0.8, 0.7])
    p_values = np.ones((3, 3))
    p_values[0, 1], p_values[0, 2], p_values[1, 2] = 0.02, 0.001, 0.04

    ranges = rank_ranges(p_values, means[:, None] - means)
    # .001 x 3, .02 x 2 and .04 x 1 are all below .05; with .03 the second is not, nor is the third.
    assert ranges == [(1, 1), (2, 2), (3, 3)]
    p_values[0, 1] = 0.03
    assert rank_ranges(p_values, means[:, None] - means) == [(1, 2), (1, 3), (2, 3)]


def test_pairs_that_cannot_be_tested_count_in_the_family_and_are_not_sure() -> None:
    p_values = np.full((3, 3), np.nan)
    assert rank_ranges(p_values, np.zeros((3, 3))) == [(1, 3)] * 3
    p_values[0, 2] = 0.02
    assert rank_ranges(p_values, np.ones((3, 3))) == [(1, 3)] * 3
    p_values[0, 2] = 0.016
    assert rank_ranges(p_values, np.ones((3, 3))) == [(1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("count", [3, 5, 20])
@pytest.mark.parametrize("row_count", [2, 8])
def test_the_detectable_difference_without_images_is_that_of_the_noncentral_t(
    count: int, row_count: int
) -> None:
    level = first_holm_level(row_count)
    pair = variances(units=0.04 / count, count=count)
    found = detectable_difference(pair, level=level)

    limit, shift = stats.t.isf(level / 2, count - 1), found / sqrt(pair.units)
    power = stats.nct.sf(limit, count - 1, shift) + stats.nct.cdf(-limit, count - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-3)
    assert separation_power(pair, found / 2, level=level) < 0.5


def test_the_power_of_images_alone_is_that_of_a_z_test() -> None:
    pair = variances(units=0.0, count=1, images=1e-4)
    known = (stats.norm.isf(0.025) + stats.norm.isf(0.2)) * 0.01

    assert detectable_difference(pair, level=0.05) == pytest.approx(known, rel=1e-3)


def test_what_would_separate_two_rows() -> None:
    level = 0.05
    need = separation_need(variances(0.02, units=1e-4, count=3), level=level)
    before, after = (
        detectable_difference(variances(units=3e-4 / count, count=count), level=level)
        for count in (int(need.units) - 1, int(need.units))
    )
    assert after <= 0.02 < before
    assert need.images == inf
    images = separation_need(variances(0.02, units=1e-6, count=20, images=1e-3), level=level)
    assert images.units == inf  # the images' part stays
    assert 1000 < images.images < inf


@pytest.mark.parametrize(("trainings", "seeds"), [(1, 1), (1, 4), (3, 1), (3, 3)])
@pytest.mark.parametrize("is_mean_of_two", [False, True])
def test_all_pairs_at_once_are_those_of_their_boards(
    trainings: int, seeds: int, is_mean_of_two: bool
) -> None:
    draws = np.random.default_rng(0)
    shape = (4, trainings, seeds, 60)
    rows = (draws.random(shape) < draws.random((4, 1, 1, 60))).astype(float)
    if is_mean_of_two:
        rows = (rows + rows[..., ::-1]) / 2
    keys = [(training, seed) for training in range(trainings) for seed in range(seeds)]
    flat = rows.reshape(4, -1, 60)
    found = image_differences(flat, flat, keys)
    p_values = difference_p_values(found)

    for first, second in [(0, 1), (2, 1), (3, 0)]:
        board = rows[first] - rows[second]
        known = board_variances(board)
        for name in ("mean", "units", "seeds", "images", "residual"):
            value = getattr(found, name)[first, second]
            assert value == pytest.approx(getattr(known, name), abs=1e-12)
        assert p_values[first, second] == pytest.approx(difference_p_value(board), rel=1e-6)


def test_pairs_without_images_have_the_p_of_the_paired_t_test() -> None:
    values = np.random.default_rng(0).normal(size=(3, 5))
    found = value_differences(values, values, [(0, seed) for seed in range(5)])

    known = stats.ttest_rel(values[0], values[2]).pvalue
    p_values = difference_p_values(found)
    assert p_values[0, 2] == pytest.approx(known)
    assert np.isnan(p_values[1, 1])
