"""Figures are well-formed, small and reproducible, and show the numbers of the tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from advtransfer.host import Host
from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.curve_panels import curve_panels, drawn_labels
from advtransfer.leaderboard.curve_series import eps_columns, series_over_eps, series_over_n
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.scatter import regression_line
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.suite.figure_settings import figure_keys

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

    [[panel]] = curve_panels([*series_over_n(find_column("clean.accuracy", evidence), evidence)])

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

    [[panel]] = curve_panels([*series_over_n(find_column("clean.accuracy", evidence), evidence)])

    assert (200.0, "all") == panel.ticks[-1]


def test_each_target_and_transfer_has_a_panel(grid: Bench) -> None:
    grid.trial("natural", 0, 0.5, 0.1, target="mnist", n=20)
    grid.trial(None, 0, 0.5, 0.1, transfer="scratch", n=20)
    evidence = gather_run_data(grid.run())

    panels = curve_panels([*series_over_n(find_column("clean.accuracy", evidence), evidence)])

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


KINDS = "a kind of figure: accuracy_vs_n, robust_vs_clean, metric_vs_eps, metric_vs_epoch, scatter"


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ({"kind": "pie", "metric": "clean.accuracy"}, KINDS),
        ({"kind": ["accuracy_vs_n"], "metric": "clean.accuracy"}, KINDS),
        ("curve", KINDS),
        ({"kind": "accuracy_vs_n"}, "kind, metric"),
        ({"kind": "robust_vs_clean", "robust": "pgd.robust_accuracy"}, "kind, robust, clean"),
        ({"kind": "metric_vs_eps", "metric": "clean.accuracy"}, "a metric recorded at 2 radii"),
        ({"kind": "metric_vs_epoch", "metric": "clean.accuracy"}, "a metric with snapshots"),
        (
            {
                "kind": "scatter",
                "predictor": "clean.accuracy",
                "outcome": "pgd.robust_accuracy",
                "across": "colour",
            },
            "across: one of source, adapter",
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
    unmet = page.markdown.partition("## Requested by the suite, but in no record")[2]
    assert f"expected {expected[:10]}" in unmet


def test_user_matplotlib_settings_change_no_byte_and_are_restored(grid: Bench) -> None:
    before = make_page(grid.run()).figures
    with matplotlib.rc_context(
        {"font.size": 30, "svg.fonttype": "none", "axes.facecolor": "black"}
    ):
        assert before == make_page(grid.run()).figures
        assert 30 == matplotlib.rcParams["font.size"]


def test_curves_over_eps_begin_at_the_clean_accuracy(bench: Bench) -> None:
    bench.leaderboard["figures"] = [{"kind": "metric_vs_eps", "metric": "pgd.robust_accuracy"}]
    for seed in range(2):
        trial = bench.trial("natural", seed, 0.9, 0.5)
        metrics = bench.records[trial["evaluations"]["pgd"][0]]["metrics"]
        metrics["robust_accuracy@0.25"] = {"value": 0.2}
        metrics["clean_accuracy"] = {"value": 0.9}
    data = gather_run_data(bench.run())

    columns = eps_columns("pgd.robust_accuracy", data)
    [[panel]] = curve_panels(series_over_eps(columns, data))

    assert panel.title == "digits, n = 20, probe"
    assert [(point.x, point.y) for point in panel.curves[0].points] == [
        (0.0, 0.9),
        (0.1, 0.5),
        (0.25, 0.2),
    ]
    page = make_page(bench.run())
    assert list(page.figures) == ["metric_vs_eps_pgd.robust_accuracy.svg"]
    assert "natural from .900 at eps = 0 to .200 at eps = 0.25" in page.markdown


def test_a_scatter_has_the_least_squares_line_and_the_band_of_its_mean() -> None:
    x = np.array([0.0, 1.0, 2.0, 5.0])
    y = np.array([0.1, 0.4, 0.3, 1.0])

    line = regression_line(x, y)
    fit = linregress(x, y)

    assert line is not None
    assert line.ys == pytest.approx(fit.intercept + fit.slope * np.array(line.xs))
    # The band at x = 0 is the interval of the intercept.
    half = student.ppf(0.975, 2) * fit.intercept_stderr
    assert line.xs[0] == 0.0
    assert line.lows[0] == pytest.approx(fit.intercept - half)
    assert line.highs[0] == pytest.approx(fit.intercept + half)
    assert regression_line(x[:2], y[:2]) is None
    assert regression_line(np.ones(4), y) is None


def test_a_scatter_has_one_point_per_source_and_says_what_its_line_does(bench: Bench) -> None:
    bench.leaderboard["figures"] = [
        {"kind": "scatter", "predictor": "align.alpha", "outcome": "clean.accuracy"}
    ]
    for place, alphas in enumerate([(0.1, 0.2), (0.3, 0.4), (0.5, 0.6), (0.7, 0.8)]):
        bench.aligned(f"source {place}", alphas, 0.2 + 0.2 * place)
    page = make_page(bench.run())

    assert list(page.figures) == ["scatter_clean.accuracy_against_align.alpha.svg"]
    assert "digits, n = 20, probe: 4 points, the line rises from .200 to .800." in page.markdown
    description = ElementTree.fromstring(next(iter(page.figures.values())))[1].text
    assert description is not None
    assert description in page.markdown


def test_a_figure_of_many_sources_draws_the_highest_and_the_baseline(bench: Bench) -> None:
    bench.leaderboard["baseline"] = "lowest"
    bench.leaderboard["figures"] = [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}]
    for place in range(15):
        for n in (20, 50):
            bench.trial(f"source {place:02}", 0, 0.3 + 0.01 * place, 0.1, n=n)
    for n in (20, 50):
        bench.trial("lowest", 0, 0.1, 0.1, n=n)
    markdown = make_page(bench.run()).markdown
    data = gather_run_data(bench.run())
    groups = [*series_over_n(find_column("clean.accuracy", data), data)]

    drawn = drawn_labels(groups, baseline="lowest")

    assert drawn == {"lowest", *(f"source {place:02}" for place in range(4, 15))}
    assert "Drawn: 12 of 16 curves, those that end highest and the baseline's." in markdown


def test_alternative_texts_cannot_leave_their_place(bench: Bench) -> None:
    bench.leaderboard["figures"] = [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}]
    for n in (20, 50):
        bench.trial("a](javascript:x) <img>\n| b", 0, 0.5, 0.1, n=n)
    (line,) = [
        line for line in make_page(bench.run()).markdown.splitlines() if line.startswith("![")
    ]

    # The first bracket that no backslash escapes closes the text.
    (text, link) = re.split(r"(?<!\\)\]", line, maxsplit=1)
    assert link == f"({NAME})"
    assert r"a\](javascript:x) \<img> | b" in text.replace(r"\|", "|")


def test_the_document_of_figures_names_every_kind_and_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "figures.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE))

    kinds = Host([]).own_figure_kinds

    assert rows.keys() == kinds.keys()
    for kind, keys in rows.items():
        assert {"kind", *re.findall(r"`(\w+)`", keys)} == set(figure_keys(kinds[kind]))
