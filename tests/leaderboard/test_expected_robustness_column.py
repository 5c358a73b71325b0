"""The column `expected_robustness` of an evaluation at several radii, with the breaks of batteries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.leaderboard.conftest import name_of

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

R, B, W = Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG
COLUMN = "pgd.expected_robustness"
SMALL = [R] * 80 + [B] * 10 + [W] * 10
LARGE = [R] * 40 + [B] * 50 + [W] * 10


def at_two_radii(bench: Bench, source: str, broken: range) -> None:
    """Add a trial attacked at 0.1 and at 0.2, and a battery at 0.1 that breaks these images."""
    trial = bench.trial(source, 0, 0.9, 0.6)
    bench.checked(trial, SMALL, broken=broken)
    (id,) = trial["evaluations"]["pgd"]
    record = bench.records[id]
    record["asked"]["options"]["eps"] = [0.1, 0.2]
    record["metrics"]["robust_accuracy@0.2"] = robust_share(LARGE)
    record["outcomes"]["robust_accuracy@0.2"] = pack_outcomes(LARGE)
    battery = record["battery"]
    larger = name_of("battery at 0.2", source)
    record["battery"] = {"robust_accuracy@0.1": battery, "robust_accuracy@0.2": larger}
    bench.records[larger] = bench.records[battery] | {
        "id": larger,
        "asked": bench.records[battery]["asked"]
        | {"options": {"norm": "linf", "eps": 0.2, "size": "small"}},
    }


def area(small: float, large: float) -> float:
    return 0.25 * 0.9 + 0.5 * small + 0.25 * large


def test_the_column_counts_what_the_batteries_broke(bench: Bench) -> None:
    """8 images, broken within 0.1, are broken within 0.2 too."""
    at_two_radii(bench, "natural", range(8))
    data = gather_run_data(bench.run())
    metric = find_column(COLUMN, data).metric_of(data.plan.trials[0], data, with_images=True)

    assert metric is not None
    assert metric.low == metric.high == pytest.approx(area(0.72, 0.32))
    assert metric.images is not None
    assert metric.images.low.mean() == pytest.approx(metric.low)
    assert set(metric.images.low.round(6)) == {0.0, 0.25, 0.75, 1.0}
    assert metric.probe is not None
    assert metric.probe.is_complete
    assert metric.is_share


def test_the_table_ranks_by_it_with_intervals_and_the_worst_over_attacks_has_it(
    bench: Bench,
) -> None:
    columns = [COLUMN, "worst_linf.expected_robustness"]
    bench.leaderboard |= {"columns": columns, "rank_by": COLUMN}
    at_two_radii(bench, "natural", range(8))
    at_two_radii(bench, "robust", range(0))
    text = make_page(bench.run()).markdown.partition("## Results\n")[2]

    for source, value in (("robust", area(0.8, 0.4)), ("natural", area(0.72, 0.32))):
        cells = bench.row(text, source)[3:5]
        shown = [cell.split(" ")[0].strip("*") for cell in cells]
        assert shown == [f"{value:.3f}".removeprefix("0")] * 2
        assert "[" in cells[0]
    assert [bench.row(text, source)[0][0] for source in ("robust", "natural")] == ["1", "2"]


def test_it_is_a_column_only_where_it_is_asked_for(bench: Bench) -> None:
    bench.leaderboard |= {"columns": [], "rank_by": "pgd.robust_accuracy@0.1"}
    at_two_radii(bench, "natural", range(8))

    assert "expected_robustness" not in make_page(bench.run()).markdown
