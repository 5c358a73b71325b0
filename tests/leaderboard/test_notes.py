"""What the page says of a table of coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import make_page

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

SPREAD = [0.1, 0.2, 0.4, 0.3, 0.5, 0.7, 0.6, 0.8, 0.9]


def asking(bench: Bench, predictors: int, *, points: int) -> Bench:
    names = [
        "align.alpha",
        "align.beta",
        "align.alpha",
        "align.beta",
        "align.alpha",
        "align.beta",
        "align.alpha",
    ]
    question = {"predictor": names[:predictors], "outcome": "clean.accuracy", "across": "source"}
    bench.leaderboard["questions"] = [question]
    for place in range(points):
        bench.aligned(f"source {place}", [SPREAD[place]], 0.1 * (place + 1) ** 0.5)
    return bench


@pytest.mark.parametrize(
    ("predictors", "points", "told"),
    [
        # 2 of 120 orders, seven times; of Pearson's coefficient 1 of them, since uneven steps have no mirror
        (
            7,
            5,
            "With 7 predictors the least p corrected that can come out is .117 for ranks, .058 for Pearson's",
        ),
        (
            2,
            5,
            "With 2 predictors the least p corrected that can come out is .033 for ranks, .017 for Pearson's",
        ),
        (3, 9, "With 3 predictors the least p corrected that can come out is .0003."),
        (7, 3, "With 7 predictors the least p corrected that can come out is 1.000; exploratory"),
    ],
)
def test_the_least_p_that_can_come_out_is_told(
    bench: Bench, predictors: int, points: int, told: str
) -> None:
    found = make_page(asking(bench, predictors, points=points).run()).markdown

    assert told in found
    assert (predictors == 7) == ("; exploratory, since no rank coefficient can reach .05." in found)


def test_what_holds_for_all_predictors_is_said_once_and_the_rest_by_predictor(bench: Bench) -> None:
    asking(bench, 1, points=5).leaderboard["questions"][0]["predictor"] = [
        "align.alpha_st",
        "align.alpha_ts",
    ]
    for place, trial in enumerate(bench.trials):
        metrics = {"alpha_st": SPREAD[place], "alpha_ts": 1 - SPREAD[place]}
        metrics |= {"kept_alpha_st": 90 + place, "kept_alpha_ts": 80}
        bench.records[trial["evaluations"]["align"][0]]["metrics"] = {
            name: {"value": value} for name, value in metrics.items()
        }
    told = make_page(bench.run()).markdown.partition("5 points; p from all 120 orders. ")[2]

    common, first, second, _ = told.split("\n\n", 1)[0], *told.split("\n")[2:5]
    assert "for `clean.accuracy`." in common
    assert "- `align.alpha_st`: Interval over sources only for `align.alpha_st`. " in first
    assert first.endswith("Taken over 90 to 94 samples.")
    assert second.endswith("for `align.alpha_ts`. Taken over 80 samples.")


def test_a_side_that_is_not_drawn_again_over_images_is_named(bench: Bench) -> None:
    found = make_page(asking(bench, 1, points=5).run()).markdown

    assert "Interval over sources only for `align.alpha`." in found
    assert "Interval over sources only for `clean.accuracy`." in found
