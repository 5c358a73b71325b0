"""Caveats under a table of coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from advtransfer.leaderboard import make_page

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

SPREAD = [0.1, 0.2, 0.4, 0.3, 0.5, 0.7, 0.6, 0.8, 0.9]


def with_question(bench: Bench, predictors: int, *, points: int) -> Bench:
    names = [f"alpha_{number}" for number in range(predictors)]
    bench.leaderboard["questions"] = [
        {
            "predictor": [f"align.{name}" for name in names],
            "outcome": "clean.accuracy",
            "across": "source",
        }
    ]
    for place in range(points):
        bench.aligned(f"source {place}", [SPREAD[place]], 0.1 * (place + 1) ** 0.5)
        align = bench.records[bench.trials[-1]["evaluations"]["align"][0]]
        align["metrics"] = {name: {"value": SPREAD[place]} for name in names}
    return bench


@pytest.mark.parametrize(
    ("predictors", "points", "caveat"),
    [
        # 2 of 120 orders, seven times. For Pearson's coefficient 1 of them: uneven steps have no
        # mirrored order.
        (
            7,
            5,
            "With 7 predictors the smallest possible corrected p is .117 for ranks, .058 for Pearson's",
        ),
        (
            2,
            5,
            "With 2 predictors the smallest possible corrected p is .033 for ranks, .017 for Pearson's",
        ),
        (3, 9, "With 3 predictors the smallest possible corrected p is .0003."),
        (7, 3, "With 7 predictors the smallest possible corrected p is 1.000; no rank coefficient"),
    ],
)
def test_smallest_possible_p_is_reported(
    bench: Bench, predictors: int, points: int, caveat: str
) -> None:
    page = make_page(with_question(bench, predictors, points=points).run()).markdown

    assert caveat in page
    assert (predictors == 7) == ("; no rank coefficient can reach .05." in page)


def test_common_caveats_are_printed_once_and_others_by_predictor(bench: Bench) -> None:
    bench.has_outcomes = False
    with_question(bench, 1, points=6).leaderboard["questions"][0]["predictor"] = [
        "align.alpha_st",
        "align.alpha_ts",
    ]
    for place, trial in enumerate(bench.trials):
        metrics = {"alpha_st": SPREAD[place], "alpha_ts": 1 - SPREAD[place]}
        metrics |= {"kept_alpha_st": 90 + place, "kept_alpha_ts": 80}
        bench.records[trial["evaluations"]["align"][0]]["metrics"] = {
            name: {"value": value} for name, value in metrics.items()
        }
    caveats = make_page(bench.run()).markdown.partition("6 points; p from all 720 orders. ")[2]

    common, first, second, _ = caveats.split("\n\n", 1)[0], *caveats.split("\n")[2:5]
    assert "`clean.accuracy` varies between sources, not over test images." in common
    assert (
        "- `align.alpha_st`: In the intervals `align.alpha_st` varies between sources, not over test images."
        in first
    )
    assert first.endswith("Computed over 90 to 95 samples.")
    assert "`align.alpha_ts` varies between sources, not over test images." in second
    assert second.endswith(" Computed over 80 samples.")


def test_columns_that_are_not_resampled_are_named(bench: Bench) -> None:
    bench.has_outcomes = False
    page = make_page(with_question(bench, 1, points=6).run()).markdown

    assert "In the intervals `align.alpha_0` varies between sources, not over test images." in page
    assert "In the intervals `clean.accuracy` varies between sources, not over test images." in page


def test_five_points_have_no_interval(bench: Bench) -> None:
    five = make_page(with_question(bench, 1, points=5).run()).markdown

    assert "an interval needs 6." in five
    assert "Interval over sources" not in five
    (line,) = (line for line in five.splitlines() if line.startswith("| align.alpha_0"))
    assert "[" not in line


@pytest.mark.parametrize(
    ("probed", "caveat"),
    [
        ([None, None, None, None], None),
        ([range(10)] * 4, "the host attacked only some of the test images."),
        ([range(10)] * 3 + [range(5, 15)], "and not the same ones for all points, which are"),
        ("none", "`pgd.robust_accuracy` is an upper bound: the host attacked no test image."),
    ],
)
def test_upper_bounds_are_named(bench: Bench, probed: Any, caveat: str | None) -> None:  # noqa: ANN401  # Any: attacked positions of each point, or "none"
    bench.leaderboard["questions"] = [
        {"predictor": "align.alpha", "outcome": "pgd.robust_accuracy", "across": "source"}
    ]
    for place in range(4):
        bench.aligned(f"source {place}", [SPREAD[place]], 0.9)
        if probed != "none":
            attack = [0] * (3 + place) + [1] * (17 - place)
            bench.checked(bench.trials[-1], attack, probed=probed[place])
    section = make_page(bench.run()).markdown.partition("## Questions")[2]
    section = section.partition("<details>")[0]

    assert (caveat is None) == ("is an upper bound" not in section)
    assert caveat is None or caveat in section
