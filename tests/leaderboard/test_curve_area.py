"""Areas under curves have the closed forms of the trapezoid rule, and the intervals of their trials."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.integrate import trapezoid

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.curve_area import area_metrics, area_tables
from advtransfer.leaderboard.result_data import ImageShares, Metric
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.statistics import trapezoid_weights

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

    from advtransfer.leaderboard.table_rows import TrialKey

COUNTS = (10, 40, 90, 500)


@pytest.fixture
def curves(bench: Bench) -> Bench:
    """Accuracy a + b log n, which the trapezoid rule has exactly."""
    for source, start in (("natural", 0.2), ("robust", 0.3)):
        for seed in range(3):
            for n in COUNTS:
                bench.trial(source, seed, round(start + 0.1 * log(n) + 0.01 * seed, 3), 0.1, n=n)
    return bench


def test_a_line_in_log_n_has_the_area_of_its_middle(curves: Bench) -> None:
    (table,) = area_tables(gather_run_data(curves.run()))
    middle = 0.1 * (log(10) + log(500)) / 2

    assert (table.metric, table.axis, table.title) == ("clean.accuracy", "log n", "digits")
    assert table.positions == COUNTS
    assert [area.row.source for area in table.areas] == ["robust", "natural"]
    # Accuracies are shares of 1,000 images, and the mean over the seeds adds 0.01.
    assert [area.aggregate.low for area in table.areas] == pytest.approx(
        [0.31 + middle, 0.21 + middle], abs=5e-4
    )
    difference = table.areas[0].difference
    assert difference is not None
    assert difference.low == pytest.approx(0.1, abs=1e-9)
    assert difference.interval is not None
    assert difference.interval[0] < 0.1 < difference.interval[1]
    assert table.areas[1].is_baseline


@pytest.mark.parametrize("power", [1, 2])
def test_weights_are_those_of_the_trapezoid_rule(power: int) -> None:
    x = np.array([1.0, 2.0, 4.5, 5.0]) ** power
    y = np.array([0.3, -1.0, 2.0, 0.5])

    assert sum(trapezoid_weights(x.tolist())) == pytest.approx(1)
    expected = trapezoid(y, x)
    assert np.dot(trapezoid_weights(x.tolist()), y) == pytest.approx(expected / (x[-1] - x[0]))


@pytest.mark.parametrize("positions", [[], [3.0], [3.0, 3.0], [3.0, 1.0]])
def test_positions_without_a_length_are_refused(positions: list[float]) -> None:
    with pytest.raises(ValueError, match="found positions"):
        trapezoid_weights(positions)


def test_an_area_keeps_the_outcomes_of_images_and_the_range_of_unknown_ones() -> None:
    images = [
        ImageShares(np.array([1.0, 0.0]), np.array([1.0, 1.0])),
        ImageShares(np.array([1.0, 1.0]), np.array([1.0, 1.0])),
    ]
    metrics: list[dict[TrialKey, Metric]] = [
        {(None, 0): Metric(0.5, 1.0, 2, images=images[0]), (None, 1): Metric(0.1, 0.1, 2)},
        {(None, 0): Metric(1.0, 1.0, 2, images=images[1])},
    ]

    area = area_metrics(metrics, [0.25, 0.75])

    assert list(area) == [(None, 0)]
    assert (area[None, 0].low, area[None, 0].high) == (0.875, 1.0)
    shares = area[None, 0].images
    assert shares is not None
    assert shares.low.tolist() == [1.0, 0.75]
    assert shares.high.tolist() == [1.0, 1.0]


def test_a_row_without_every_n_has_no_area_and_a_lost_trial_is_counted(curves: Bench) -> None:
    curves.trial("short", 0, 0.9, 0.1, n=10)
    lost = next(trial for trial in curves.trials if (trial["n"], trial["seed"]) == (40, 2))
    del curves.records[lost["evaluations"]["clean"][0]]

    (table,) = area_tables(gather_run_data(curves.run()))

    assert {area.row.source for area in table.areas} == {"natural", "robust"}
    assert [area.aggregate.trial_count for area in table.areas] == [3, 2]
    assert " (2/3)" in make_page(curves.run()).markdown


@pytest.mark.parametrize("is_recorded", [True, False])
def test_all_images_count_by_their_number_or_not_at_all(bench: Bench, is_recorded: bool) -> None:
    for n, accuracy in ((10, 0.4), (100, 0.6), ("all", 0.7)):
        trial = bench.trial("natural", 0, accuracy, 0.1, n=n)
        if n == "all" and is_recorded:
            bench.records[trial["id"]]["facts"] = {"labels_used": 10_000}
    tables = area_tables(gather_run_data(bench.run()))

    if is_recorded:
        # log n in the ratio 1 : 2, so that the area is (0.5 + 2 * 0.65) / 3.
        assert tables[0].areas[0].aggregate.low == pytest.approx(0.6)
    assert bool(tables) is is_recorded


def test_epochs_of_training_curves_and_snapshots_have_areas(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = None
    bench.leaderboard["figures"] = [
        {"kind": "metric_vs_epoch", "curve": "train_accuracy"},
        {"kind": "metric_vs_epoch", "metric": "clean.accuracy"},
    ]
    for seed in range(2):
        trial = bench.trial("natural", seed, 0.8, 0.1)
        bench.records[trial["id"]]["curves"] = [
            {"candidate": 1, "train_accuracy": 9.0},
            *({"epoch": epoch, "train_accuracy": 0.1 * epoch} for epoch in (1, 2, 3, 6)),
        ]
        metrics = bench.records[trial["evaluations"]["clean"][0]]["metrics"]
        metrics["accuracy@2"] = {"value": 0.4}
    data = gather_run_data(bench.run())

    training, snapshots = area_tables(data)

    assert training.positions == (1, 2, 3, 6)
    assert training.areas[0].aggregate.low == pytest.approx(0.35)
    # The fitted model is that of the last epoch.
    assert snapshots.positions == (2, 6)
    assert snapshots.areas[0].aggregate.low == pytest.approx(0.6)
    page = make_page(bench.run())
    assert set(page.figures) == {
        "metric_vs_epoch_clean.accuracy.svg",
        "metric_vs_epoch_train_accuracy.svg",
    }
    assert "### digits, n = 20: `train_accuracy` from epoch = 1 to 6" in page.markdown


def test_suspicious_rows_come_last_and_say_so(curves: Bench) -> None:
    for trial in curves.trials:
        if trial["source"] == "robust":
            (id,) = trial["evaluations"]["clean"]
            check = {"name": "oracle", "grade": "suspicious", "value": 1, "limit": 0, "samples": 9}
            curves.records[id]["checks"] = [check | {"text": "odd"}]

    (table,) = area_tables(gather_run_data(curves.run()))

    assert [(area.row.source, area.doubt) for area in table.areas] == [
        ("natural", ""),
        ("robust", "suspicious"),
    ]


def test_labels_cannot_break_the_table(bench: Bench) -> None:
    for n in (10, 20):
        bench.trial("a | <b>", 0, 0.5, 0.1, n=n)
    section = make_page(bench.run()).markdown.partition("## Area under the curve")[2]

    assert r"| a \| \<b> | probe" in section
