"""Ranks are ranges by the differences that Δ prints, group by group, and the caption says what they know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from advtransfer.leaderboard.aggregates import paired_difference
from advtransfer.leaderboard.pair_tests import pair_tests, row_values
from advtransfer.leaderboard.result_data import ImageShares, Metric
from advtransfer.text import ABSENT

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

    from advtransfer.leaderboard.table_rows import TrialKey


def ranks_of(text: str, *names: str, bench: Bench) -> list[str]:
    return [bench.row(text, name)[0] for name in names]


def random_row(
    seed: int, keys: list[TrialKey], *, share: float, images: int = 40, unknown: float = 0.0
) -> dict[TrialKey, Metric]:
    draws = np.random.default_rng(seed)
    metrics: dict[TrialKey, Metric] = {}
    for key in keys:
        low = (draws.random(images) < share).astype(float)
        high = np.maximum(low, draws.random(images) < unknown)
        shares = ImageShares(low, high) if images else None
        ends = (low.mean(), high.mean()) if images else (share + 0.1 * draws.normal(),) * 2
        metrics[key] = Metric(float(ends[0]), float(ends[1]), images=shares)
    return metrics


@pytest.mark.parametrize("images", [0, 40])
@pytest.mark.parametrize("is_deterministic", [False, True])
def test_p_values_and_differences_are_those_of_the_paired_difference(
    images: int, is_deterministic: bool
) -> None:
    seeds: list[TrialKey] = [(None, seed) for seed in range(3)]
    trained: list[TrialKey] = [(replicate, seed) for replicate in (0, 1) for seed in range(3)]
    rows = [
        random_row(0, seeds, share=0.3, images=images),
        random_row(1, seeds, share=0.9, images=images, unknown=0.1),
        random_row(2, trained, share=0.5, images=images),
        random_row(3, trained, share=0.8, images=images, unknown=0.02),
        random_row(4, seeds[:1], share=0.6, images=images),
        dict.fromkeys(seeds, random_row(5, seeds[:1], share=0.7, images=images)[None, 0]),
        dict.fromkeys(seeds, random_row(6, seeds[:1], share=0.2, images=images)[None, 0]),
    ]
    values = [row_values(row, deterministic=is_deterministic, has_source=True) for row in rows]
    found = pair_tests(values)

    for first in range(len(rows)):
        for second in range(len(rows)):
            if first == second:
                continue
            known = paired_difference(rows[first], rows[second], deterministic=is_deterministic)
            assert known is not None
            assert found.low[first, second] == pytest.approx(known.low, abs=1e-12)
            p_value = found.p_values[first, second]
            assert (known.p_value is None) == bool(np.isnan(p_value))
            if known.p_value is not None:
                assert p_value == pytest.approx(known.p_value, rel=1e-6)


def test_rows_that_differ_surely_have_one_rank_and_others_share_theirs(bench: Bench) -> None:
    for seed in range(3):
        bench.trial("natural", seed, 0.50, 0.1, n="all")
        bench.trial("near", seed, 0.502, 0.1, n="all")
        bench.trial("far", seed, 0.80, 0.1, n="all")

    table = bench.table(n="all")
    assert ranks_of(table, "far", "near", "natural", bench=bench) == ["1", "2-3", "2-3"]
    assert (
        "better rows to 3 - the number of significantly worse ones, by Holm's method over all 3"
        in table
    )
    assert "all ranges of the table hold together with 95 % confidence." in table
    assert "Detectable difference (power .8): ." in table
    assert "With 3 subset seeds, rows that differ by less may share ranks" in table
    assert "beside ranks" not in table
    assert "Rows 2 and 3 differ by .002. If this is the true difference, " in table
    assert "chosen as the best of 3 rows" in table
    assert "claims about these trained sources, not about other trainings" in table


def test_rows_that_lack_a_planned_number_are_shown_and_not_ranked(bench: Bench) -> None:
    bench.filled()
    bench.trial("robust", 3)

    table = bench.table()
    assert ranks_of(table, "natural", "robust", bench=bench) == ["1", ABSENT]
    assert "Rows without the ranking number of a planned trial are not ranked." in table


def test_without_images_one_trial_of_each_row_tells_nothing(bench: Bench) -> None:
    bench.has_outcomes = False
    for place, name in enumerate(("natural", "robust", "random")):
        bench.trial(name, 0, 0.5 + 0.1 * place, 0.1)

    table = bench.table()
    assert ranks_of(table, "natural", "robust", "random", bench=bench) == ["1-3"] * 3
    assert (
        "every range is 1-3, since no pair of rows can be tested: each row has one trial" in table
    )
    assert "Several source trainings or subset seeds of each row would tell it." in table
    assert "Pairs are compared over" not in table


def test_rows_without_a_battery_are_a_group_whose_ranges_begin_after_the_checked_rows(
    bench: Bench,
) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    right, wrong = [0] * 100, [1] * 100
    bench.checked(bench.trial("natural", 0, 0.9, 0.6), [*right[:20], *wrong[:80]])
    bench.checked(bench.trial("robust", 0, 0.9, 0.6), [*right[:90], *wrong[:10]])
    for name, value in (("other", 0.9), ("another", 0.2)):
        bench.trial(name, 0, 0.9, value)

    table = bench.table()
    names = ("robust", "natural", "other", "another")
    assert ranks_of(table, *names, bench=bench) == ["1‡", "2‡", "3‡", "4‡"]
    assert "‡ beside ranks: over images of one trial alone" in table
    assert "Rows 3 to 4 have no battery: they are ranked after the checked rows." in table


def test_the_lowest_is_first_where_lower_is_better(bench: Bench) -> None:
    bench.leaderboard |= {"columns": ["clean.loss"], "rank_by": {"lowest": "clean.loss"}}
    for source, losses in {"natural": (0.9, 0.91, 0.92), "robust": (0.1, 0.11, 0.121)}.items():
        for seed, loss in enumerate(losses):
            trial = bench.trial(source, seed, 0.5, 0.1)
            bench.records[trial["evaluations"]["clean"][0]]["metrics"]["loss"] = {"value": loss}

    assert ranks_of(bench.table(), "robust", "natural", bench=bench) == ["1", "2"]
