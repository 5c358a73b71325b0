"""Figures are well-formed, small and reproducible, and show the numbers of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import matplotlib
import pytest

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.curve_series import series_over_n
from advtransfer.leaderboard.figures import curve_panels
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import find_column

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

COUNTS: tuple[int | str, ...] = (20, 50, 100, "all")
NAME = "accuracy_vs_n_clean.accuracy.svg"


@pytest.fixture
def grid(bench: Bench) -> Bench:
    bench.leaderboard["figures"] = [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}]
    for place, source in enumerate(["natural", "linf 0.1", "_random $x$"]):
        for step, n in enumerate(COUNTS):
            for seed in range(3):
                spread = 0 if n == "all" else 0.01 * seed
                trial = bench.trial(
                    source, seed, round(0.4 + 0.1 * place + 0.05 * step + spread, 3), 0.1, n=n
                )
                if n == "all":
                    bench.records[trial["id"]]["facts"] = {"labels_used": 450}
    return bench


def test_figure_is_a_small_svg_shown_on_the_page(grid: Bench) -> None:
    page = make_page(grid.run())

    assert [NAME] == list(page.figures)
    assert f"({NAME})" in page.markdown
    assert "{http://www.w3.org/2000/svg}svg" == ElementTree.fromstring(page.figures[NAME]).tag
    assert len(page.figures[NAME]) < 100_000


def test_curves_show_means_and_intervals_of_the_tables(grid: Bench) -> None:
    grid.deterministic = ["probe"]
    evidence = gather_run_data(grid.run())

    [[panel]] = curve_panels(series_over_n(find_column("clean.accuracy", evidence), evidence))

    assert "digits, probe" == panel.title
    assert ((20.0, "20"), (50.0, "50"), (100.0, "100"), (450.0, "all (450)")) == panel.ticks
    assert ["_random $x$", "linf 0.1", "natural"] == [curve.label for curve in panel.curves]
    assert [0.41, 0.46, 0.51, 0.55] == pytest.approx([point.y for point in panel.curves[2].points])
    assert [False, False, False, True] == [point.is_hollow for point in panel.curves[2].points]
    row = grid.row(grid.table(n="all"), "natural")[3]
    interval = panel.curves[2].points[3].interval
    assert f".550 [.{interval[0] * 1000:.0f}, .{interval[1] * 1000:.0f}]†" == row


def test_all_is_the_last_tick_if_its_count_is_unknown(grid: Bench) -> None:
    for record in grid.records.values():
        record.pop("facts", None)
    evidence = gather_run_data(grid.run())

    [[panel]] = curve_panels(series_over_n(find_column("clean.accuracy", evidence), evidence))

    assert (200.0, "all") == panel.ticks[-1]


def test_each_target_and_transfer_has_a_panel(grid: Bench) -> None:
    grid.trial("natural", 0, 0.5, 0.1, target="mnist", n=20)
    grid.trial(None, 0, 0.5, 0.1, transfer="scratch", n=20)
    evidence = gather_run_data(grid.run())

    panels = curve_panels(series_over_n(find_column("clean.accuracy", evidence), evidence))

    assert [["digits, probe", "digits, scratch"], ["mnist, probe", "mnist, scratch"]] == [
        [panel.title for panel in row] for row in panels
    ]
    assert [[3, 1], [1, 0]] == [[len(panel.curves) for panel in row] for row in panels]
    assert ["no source"] == [curve.label for curve in panels[0][1].curves]
    assert [NAME] == list(make_page(grid.run()).figures)


def test_a_figure_without_a_number_is_not_drawn(bench: Bench) -> None:
    bench.leaderboard["figures"] = [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}]
    bench.trial("natural", 0)

    assert {} == make_page(bench.run()).figures


KINDS = "a kind of accuracy_vs_n, robust_vs_clean, metric_vs_eps, metric_vs_epoch, scatter"


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ({"kind": "pie", "metric": "clean.accuracy"}, KINDS),
        ({"kind": ["accuracy_vs_n"], "metric": "clean.accuracy"}, KINDS),
        ("curve", KINDS),
        ({"kind": "accuracy_vs_n"}, "metric, each a metric"),
        ({"kind": "robust_vs_clean", "robust": "pgd.robust_accuracy"}, "robust, clean, each"),
        ({"kind": "metric_vs_eps", "metric": "clean.accuracy"}, "a metric recorded at 2 radii"),
        ({"kind": "metric_vs_epoch", "metric": "clean.accuracy"}, "a metric with snapshots"),
        (
            {
                "kind": "scatter",
                "predictor": "clean.accuracy",
                "outcome": "pgd.robust_accuracy",
                "across": "colour",
            },
            "predictor, outcome, across",
        ),
    ],
)
def test_unknown_figure_is_left_out_and_reported(
    grid: Bench, figure: object, expected: str
) -> None:
    grid.leaderboard["figures"] = [figure]
    page = make_page(grid.run())

    assert {} == page.figures
    (problem,) = page.problems
    assert problem.expected.startswith(expected)
    unmet = page.markdown.partition("## What the suite asks for and no record has")[2]
    assert f"expected {expected[:10]}" in unmet


def test_user_matplotlib_settings_change_no_byte_and_are_restored(grid: Bench) -> None:
    before = make_page(grid.run()).figures
    with matplotlib.rc_context(
        {"font.size": 30, "svg.fonttype": "none", "axes.facecolor": "black"}
    ):
        assert before == make_page(grid.run()).figures
        assert 30 == matplotlib.rcParams["font.size"]
