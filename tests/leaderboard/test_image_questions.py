"""Questions across images: coefficients, intervals, and what becomes a point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from scipy import stats

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.image_questions import associate_images
from advtransfer.statistics.weighted_correlation import (
    dense_ranks,
    weighted_pearson,
    weighted_spearman,
)

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench, Json_

X = np.array([0.1, 0.5, 0.5, 0.7, 2.0, 1.1, 0.3])
Y = np.array([1.0, 3.0, 2.0, 2.0, 0.5, 4.0, 2.5])
WEIGHTS = np.array([2.0, 0.0, 1.0, 3.0, 1.0, 2.0, 1.0])


def test_weights_are_copies_of_a_point() -> None:
    """Held to SciPy with each point repeated."""
    copies = np.repeat(np.arange(len(X)), WEIGHTS.astype(int))

    pearson = cast(Any, stats.pearsonr(X[copies], Y[copies])).statistic  # SciPy's types differ
    spearman = cast(Any, stats.spearmanr(X[copies], Y[copies])).statistic
    assert weighted_pearson(X, Y, WEIGHTS) == pytest.approx(float(pearson))
    assert weighted_spearman(dense_ranks(X), dense_ranks(Y), WEIGHTS) == pytest.approx(
        float(spearman)
    )


def test_a_side_without_spread_has_no_coefficient() -> None:
    found = associate_images(np.ones(20), np.arange(20.0), seed=0)

    assert found.values == (None, None)
    assert found.intervals == (None, None)


def test_images_whose_values_differ_by_rounding_alone_have_no_coefficient() -> None:
    equal = np.full(20, 0.3)
    equal[:7] = 0.1 + 0.2

    assert len(set(equal.tolist())) == 2
    assert associate_images(equal, np.arange(20.0), seed=0).values == (None, None)
    assert associate_images(np.arange(20.0), equal, seed=0).values == (None, None)


def test_a_resample_of_equal_images_has_no_coefficient() -> None:
    """The mean of 0.1, three times, is not 0.1: without a bound its rounding would correlate."""
    x = np.array([0.1, 0.1, 0.1, 5.0])

    assert np.isnan(weighted_pearson(x, np.arange(4.0), np.array([1.0, 1.0, 1.0, 0.0])))


def test_images_on_a_line_have_an_interval_without_width() -> None:
    x = np.arange(30.0)
    found = associate_images(x, -2 * x + 1, seed=3)

    assert found.values == pytest.approx((-1, -1))
    for interval in found.intervals:
        assert interval == pytest.approx((-1, -1))


def test_intervals_of_many_images_are_those_of_theory() -> None:
    """Of normal samples Fisher's z of Pearson's r has the standard error 1 / sqrt(N - 3)."""
    draws = np.random.RandomState(1).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=2000)
    found = associate_images(draws[:, 0], draws[:, 1], seed=0)
    r = cast(float, found.values[0])
    low, high = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) / np.sqrt(1997))

    assert found.intervals[0] == pytest.approx((low, high), abs=0.006)


def test_few_images_have_no_interval() -> None:
    assert associate_images(X[:5], Y[:5], seed=0).intervals == (None, None)
    assert associate_images(X[:2], Y[:2], seed=0).values == (None, None)


def test_outcomes_of_images_are_points_of_each_row(bench: Bench) -> None:
    bench.leaderboard["questions"] = [
        {
            "predictor": "pgd.robust_accuracy",
            "outcome": "clean.accuracy",
            "across": "image",
            "note": "Asked of each row.",
        }
    ]
    bench.filled()
    page = make_page(bench.run())
    _, _, section = page.markdown.partition("## Questions across images")

    assert section.lstrip().startswith(
        "### How well does `pgd.robust_accuracy` predict `clean.accuracy` of an image?"
    )
    assert "Asked of each row." in section
    rows = [line for line in section.splitlines() if "pgd.robust_accuracy |" in line]
    assert [row.split("|")[3].strip() for row in rows] == ["1000", "1000"]
    assert "## Questions\n" not in page.markdown


def test_images_of_two_test_parts_are_never_paired(bench: Bench) -> None:
    """A target's test part and a further one (`also`) may have as many images, and are others."""
    question: Json_ = {
        "predictor": "pgd.robust_accuracy",
        "outcome": "clean.accuracy",
        "across": "image",
    }
    bench.leaderboard["questions"] = [question]
    bench.filled()
    for record in bench.records.values():
        if record["kind"] == "result" and record["asked"]["use"] == "foolbox/pgd":
            record["asked"]["inputs"]["test"] = "mild"
    page = make_page(bench.run())
    _, _, section = page.markdown.partition("## Questions across images")

    rows = [line for line in section.splitlines() if "pgd.robust_accuracy |" in line]
    assert [row.split("|")[3].strip() for row in rows] == ["0", "0"]
