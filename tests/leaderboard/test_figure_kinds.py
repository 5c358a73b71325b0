"""Each kind of figure draws the numbers of the tables: its points, bands, bars, shades and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import matplotlib
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from advtransfer.errors import BadInput
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.curve_panels import MAX_CURVES, MAX_PANELS
from advtransfer.leaderboard.figure_inputs import RunFigureInputs
from advtransfer.leaderboard.figure_kinds.matrix import MAX_LABELS
from advtransfer.leaderboard.figure_requests import parse_figure
from advtransfer.leaderboard.run_data import RunData, gather_run_data
from advtransfer.toolkit.plot_style import COLORS, MATPLOTLIB_SETTINGS
from advtransfer.types import Drawing, FigureInputs, FigureKind

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tests.leaderboard.conftest import Bench


Settings: TypeAlias = "dict[str, Any]"  # Any: each kind has its own keys


def data_of(bench: Bench, figure: Settings) -> RunData:
    bench.leaderboard["figures"] = [figure]
    return gather_run_data(bench.run())


def drawing_of(data: RunData, figure: Settings) -> Drawing:
    request = parse_figure(figure, data)
    drawing = request.kind.draw(request.inputs)
    assert drawing is not None
    return drawing


def built(drawing: Drawing) -> Figure:
    with matplotlib.rc_context():
        matplotlib.rcParams.update(MATPLOTLIB_SETTINGS)
        figure = drawing.build()
    assert isinstance(figure, Figure)
    return figure


def draw(bench: Bench, figure: Settings) -> tuple[Drawing, Figure]:
    drawing = drawing_of(data_of(bench, figure), figure)
    return drawing, built(drawing)


def ys(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata(), dtype=float)]


def vertices(collection: Artist) -> list[tuple[float, float]]:
    """Return the corners of a band, or the ends of a vertical line."""
    assert isinstance(collection, PolyCollection | LineCollection)
    corners = np.asarray(collection.get_paths()[0].vertices, dtype=float)
    return [(x, y) for x, y in corners.tolist()]


def test_delta_vs_n_draws_the_differences_of_the_tables_and_their_bands(bench: Bench) -> None:
    bench.filled(n=20)
    bench.clean = {"natural": [0.6, 0.7, 0.8], "robust": [0.7, 0.7, 0.8]}
    bench.filled(n=50)
    figure = {"kind": "delta_vs_n", "metric": "clean.accuracy"}

    drawing, drawn = draw(bench, figure)

    (axes,) = drawn.axes
    zero, curve = axes.lines
    assert ys(zero) == [0, 0]
    assert np.asarray(curve.get_xydata()) == pytest.approx(np.array([[20, 0.4 / 3], [50, 0.1 / 3]]))
    (band,) = [each for each in axes.collections if isinstance(each, PolyCollection)]
    ends = {(round(x), round(y, 3)) for x, y in vertices(band)}
    cell = bench.row(bench.table(n=20), "robust")[5]
    low, high = (
        float(end.replace("+", "")) for end in cell.split("[")[1].split("]")[0].split(", ")
    )
    assert {(20, low), (20, high)} <= ends
    assert "robust from .133 at n = 20 to .033 at n = 50" in drawing.text
    assert "difference to natural" in drawing.caption


def test_a_figure_of_differences_may_compare_with_a_transfer_of_its_own(bench: Bench) -> None:
    bench.leaderboard["baseline"] = None
    for n in (20, 50):
        bench.trial("natural", 0, 0.5, 0.1, n=n, transfer="one block")
        bench.trial("natural", 0, 0.7, 0.1, n=n, transfer="three blocks")
    figure = {"kind": "delta_vs_n", "metric": "clean.accuracy"}

    with pytest.raises(BadInput, match="`against`, or a `baseline` of the suite"):
        parse_figure(figure, data_of(bench, figure))
    _, drawn = draw(bench, {**figure, "against": {"transfer": "one block"}})

    (axes,) = drawn.axes
    assert axes.get_title() == "digits, three blocks"
    assert ys(axes.lines[1]) == pytest.approx([0.2, 0.2])


def test_curves_of_transfers_stand_in_one_panel_of_each_source(bench: Bench) -> None:
    for source in ("natural", "robust"):
        for place, transfer in enumerate(["1 block", "3 blocks", "9 blocks"]):
            for n in (20, 50):
                bench.trial(source, 0, 0.5 + 0.1 * place, 0.1, n=n, transfer=transfer)
    figure = {"kind": "accuracy_vs_n", "metric": "clean.accuracy", "curves": "transfer"}

    _, drawn = draw(bench, figure)

    assert [axes.get_title() for axes in drawn.axes] == ["digits, natural", "digits, robust"]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "1 block",
        "3 blocks",
        "9 blocks",
    ]
    with pytest.raises(BadInput, match="curves: one of source, transfer"):
        parse_figure({**figure, "curves": "target"}, data_of(bench, figure))


def test_delta_vs_epoch_draws_the_curve_above_its_difference(bench: Bench) -> None:
    for source, shift in (("natural", 0.0), ("robust", -0.25)):
        trial = bench.trial(source, 0, 0.5, 0.1)
        bench.records[trial["id"]]["curves"] = [
            {"epoch": epoch, "train_loss": 1 / epoch + shift} for epoch in (1, 2, 4)
        ]
    _, drawn = draw(bench, {"kind": "delta_vs_epoch", "curve": "train_loss"})

    above, below = drawn.axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("train_loss", "Δ train_loss")
    lines = {tuple(np.round(ys(line), 3)) for line in above.lines}
    assert {(1.0, 0.5, 0.25), (0.75, 0.25, 0.0)} <= lines
    assert np.asarray(below.lines[1].get_xydata()) == pytest.approx(
        np.array([[1, -0.25], [2, -0.25], [4, -0.25]])
    )


def swept(bench: Bench) -> Bench:
    """Add a sweep of C by two transfers, one of which has another option."""
    for place, strength in enumerate((0.01, 0.1, 1.0)):
        for transfer, scale in (("probe", True), ("raw", False)):
            trial = bench.trial(
                "natural", 0, 0.5 + 0.1 * place, 0.1, transfer=f"{transfer}[C={strength:g}]"
            )
            options = {"C": strength, "standardise": scale}
            bench.records[trial["id"]]["asked"]["options"] = options
    return bench


def test_metric_vs_option_draws_a_curve_and_a_table_row_for_each_value(bench: Bench) -> None:
    figure = {
        "kind": "metric_vs_option",
        "metrics": ["clean.accuracy", "pgd.robust_accuracy"],
        "option": "C",
    }

    drawing, drawn = draw(swept(bench), figure)

    above, below = drawn.axes
    assert above.get_xscale() == "log"
    assert [text.get_text() for text in above.get_xticklabels()] == ["0.01", "0.1", "1"]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "natural, probe",
        "natural, raw",
    ]
    assert ys(above.lines[0]) == pytest.approx([0.5, 0.6, 0.7])
    assert ys(below.lines[0]) == pytest.approx([0.1, 0.1, 0.1])
    rows = [line for line in drawing.table.splitlines() if "natural, probe" in line]
    assert [line.split("|")[3].strip() for line in rows] == ["0.01", "0.1", "1"]
    assert [line.split("|")[4].split()[0] for line in rows] == [".500", ".600", ".700"]


def test_metric_vs_option_has_a_table_row_for_each_of_two_sources_at_one_value(
    bench: Bench,
) -> None:
    for seed, clean in ((0, 0.5), (1, 0.7)):
        bench.trial(f"source {seed}", 0, clean, 0.1)
        options = {"width": 16, "seed": seed}
        bench.records[bench.source(f"source {seed}")]["asked"]["options"] = options
    figure = {"kind": "metric_vs_option", "metrics": "clean.accuracy", "option": "width"}

    drawing, _ = draw(bench, figure)

    cells = [line.split("|")[4].split()[0] for line in drawing.table.splitlines()[2:]]
    assert sorted(cells) == [".500", ".700"]


def test_the_table_of_an_option_has_the_curves_that_a_panel_leaves_out(bench: Bench) -> None:
    for place in range(MAX_CURVES + 1):
        trial = bench.trial("natural", 0, 0.5, 0.1, transfer=f"probe {place}")
        options = {"C": 1.0, "seed": 0, "place": place}
        bench.records[trial["id"]]["asked"]["options"] = options
    figure = {"kind": "metric_vs_option", "metrics": "clean.accuracy", "option": "C"}

    drawing, _ = draw(bench, figure)

    assert drawing.caption.endswith(" Drawn: 12 of up to 13 curves a panel; the table has all.")
    assert len(drawing.table.splitlines()) == 2 + MAX_CURVES + 1


def test_metric_vs_option_reads_options_of_sources_and_values_that_are_no_numbers(
    bench: Bench,
) -> None:
    for kind, clean in (("none", 0.5), ("pgd", 0.7)):
        label = f"source[adversary={kind}]"
        bench.trial(label, 0, clean, 0.1)
        options = {"network": "cnn", "adversary": {"kind": kind}}
        bench.records[bench.source(label)]["asked"]["options"] = options
    figure = {"kind": "metric_vs_option", "metrics": "clean.accuracy", "option": "adversary.kind"}

    _, drawn = draw(bench, figure)

    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["none", "pgd"]
    assert ys(axes.lines[0]) == pytest.approx([0.5, 0.7])
    wrong = {**figure, "option": "adversary.eps"}
    data = data_of(bench, wrong)
    with pytest.raises(BadInput, match="option: one of the fits or sources"):
        parse_figure(wrong, data)


def test_bars_have_the_heights_and_intervals_of_the_tables(bench: Bench) -> None:
    figure = {"kind": "bars", "metrics": ["clean.accuracy", "pgd.robust_accuracy"]}

    drawing, drawn = draw(bench.filled(), figure)

    (axes,) = drawn.axes
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    heights = sorted(round(patch.get_height(), 3) for patch in patches)
    assert heights == [0.2, 0.2, 0.6, 0.733]
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == ["clean.\naccuracy", "pgd.\nrobust_accuracy"]
    line = next(ends for ends in map(vertices, axes.collections) if ends[0][0] < 0)
    low, high = bench.row(bench.table(), "natural")[3].split("[")[1].split("]")[0].split(", ")
    assert [round(y, 3) for _, y in line] == [float(low), float(high)]
    assert "clean.accuracy natural, probe .600, robust, probe .733" in drawing.text


def test_a_matrix_has_a_shade_and_a_number_for_each_source_and_target(bench: Bench) -> None:
    numbers = {("a", "digits"): 0.2, ("a", "mnist"): 0.4, ("b", "digits"): 0.8}
    for (source, target), clean in numbers.items():
        bench.trial(source, 0, clean, 0.1, target=target)

    drawing, drawn = draw(bench, {"kind": "matrix", "metric": "clean.accuracy"})

    axes = drawn.axes[0]
    shown: NDArray[np.float64] = np.ma.filled(np.ma.asarray(axes.images[0].get_array()), np.nan)
    assert shown == pytest.approx(np.array([[0.2, 0.4], [0.8, np.nan]]), nan_ok=True)
    texts = {tuple(map(int, text.get_position()[::-1])): text.get_text() for text in axes.texts}
    assert {(0, 0): ".200", (0, 1): ".400", (1, 0): ".800"}.items() <= texts.items()
    assert "highest .800 for b and digits, lowest .200 for a and digits" in drawing.text


def test_a_matrix_of_one_axis_is_refused(bench: Bench) -> None:
    figure = {"kind": "matrix", "metric": "clean.accuracy", "rows": "target"}

    with pytest.raises(BadInput, match="two axes, rows and columns, of source, adapter"):
        parse_figure(figure, data_of(bench.filled(), figure))


@pytest.mark.parametrize(
    "figure",
    [
        {"kind": "grid", "evaluation": "clean", "file": "grid"},
        {"kind": "decision_regions", "evaluation": "clean"},
    ],
)
def test_a_grid_shows_the_pictures_of_each_row(
    bench: Bench, tmp_path: Path, figure: Settings
) -> None:
    name = figure.get("file", "decision_regions")
    sizes: dict[str, int] = {}
    for place, source in enumerate(["natural", "robust"]):
        id = bench.trial(source, 0, 0.5, 0.1)["evaluations"]["clean"][0]
        path = f"files/{id}/{name}.png"
        bench.records[id]["files"] = {name: path}
        (tmp_path / path).parent.mkdir(parents=True)
        pixels = np.full((4, 8, 3), 40 * (place + 1), np.uint8)
        Image.fromarray(pixels).save(tmp_path / path)
        sizes[path] = (tmp_path / path).stat().st_size
    bench.leaderboard["figures"] = [figure]
    run = replace(bench.run(), root=tmp_path, files=sizes)

    drawn = built(drawing_of(gather_run_data(run), figure))

    assert [axes.get_title(loc="left") for axes in drawn.axes] == [
        "natural, probe",
        "robust, probe",
    ]
    assert [int(np.asarray(axes.images[0].get_array()).max()) for axes in drawn.axes] == [40, 80]
    # A file that is no picture is left out, and so is one that the run does not have.
    first = next(iter(sizes))
    (tmp_path / first).write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    left = gather_run_data(replace(run, files={first: 10}))
    request = parse_figure(figure, left)
    assert request.kind.draw(request.inputs) is None


def test_the_evaluation_of_a_grid_must_be_planned(bench: Bench) -> None:
    figure = {"kind": "grid", "evaluation": "saliency"}

    with pytest.raises(BadInput, match="evaluation: one of clean, pgd"):
        parse_figure(figure, data_of(bench.filled(), figure))


@pytest.mark.parametrize(
    ("files", "figure", "reason"),
    [
        ({}, {"kind": "grid"}, "evaluation: one that writes files; clean did not"),
        ({}, {"kind": "decision_regions"}, "evaluation: one that writes files; clean did not"),
        (
            {"other": "files/ID/other.png"},
            {"kind": "grid", "file": "picture"},
            "a file that clean wrote: other",
        ),
        (
            {"other": "files/ID/other.png"},
            {"kind": "decision_regions"},
            "a file that clean wrote: other",
        ),
    ],
)
def test_the_page_says_why_a_grid_without_pictures_is_absent(
    bench: Bench, files: dict[str, str], figure: Settings, reason: str
) -> None:
    (id,) = bench.trial("natural", 0, 0.5, 0.1)["evaluations"]["clean"]
    bench.records[id]["files"] = {name: path.replace("ID", id) for name, path in files.items()}
    bench.leaderboard["figures"] = [{**figure, "evaluation": "clean"}]

    page = make_page(bench.run())

    assert not page.figures
    assert (
        f"expected {reason}"
        in page.markdown.replace("\\_", "_").partition(
            "## Requested by the suite, but in no record"
        )[2]
    )


def test_an_option_that_the_selected_rows_lack_is_listed_on_the_page(bench: Bench) -> None:
    swept(bench)
    figure = {"kind": "metric_vs_option", "metrics": "clean.accuracy", "option": "C"}
    trial = bench.trial("natural", 0, 0.5, 0.1, transfer="other")
    bench.records[trial["id"]]["asked"]["options"] = {}
    bench.leaderboard["figures"] = [{**figure, "given": {"transfer": "other"}}]

    page = make_page(bench.run())

    assert not page.figures
    listed = page.markdown.partition("## Requested by the suite, but in no record")[2]
    assert "option: one of the fits or sources" in listed


def test_every_kind_of_figure_is_an_accessible_file(bench: Bench) -> None:
    """A dark page has its own inks, and what the figure shows stands in the file as text."""
    swept(bench)
    bench.trial("robust", 0, 0.5, 0.1, transfer="probe[C=0.1]")
    bench.leaderboard["figures"] = [
        {"kind": "delta_vs_n", "metric": "clean.accuracy"},
        {"kind": "metric_vs_option", "metrics": "clean.accuracy", "option": "C"},
        {"kind": "bars", "metrics": "clean.accuracy"},
        {"kind": "matrix", "metric": "clean.accuracy"},
    ]
    page = make_page(bench.run())

    assert len(page.figures) == 4
    for svg in page.figures.values():
        text = svg.decode()
        assert "prefers-color-scheme: dark" in text
        assert '<desc id="description">' in text
        assert COLORS[0].lower() in text or "image" in text
    assert page.figures == make_page(bench.run()).figures


def test_figures_of_one_metric_in_other_rows_have_files_of_their_own(bench: Bench) -> None:
    bench.filled()
    figure: Settings = {"kind": "bars", "metrics": "clean.accuracy"}
    other: Settings = {**figure, "given": {"source": "robust"}}
    bench.leaderboard["figures"] = [figure, other, figure]

    page = make_page(bench.run())

    names = ["bars_clean.accuracy.svg", "bars_clean.accuracy_2.svg"]
    assert list(page.figures) == names
    assert all(f"]({name})" in page.markdown for name in names)


def test_targets_and_n_beyond_the_panels_of_a_figure_are_counted(bench: Bench) -> None:
    for n in range(10, 10 + MAX_PANELS + 1):
        for source in ("natural", "robust"):
            trial = bench.trial(source, 0, 0.5, 0.1, n=n)
            curve = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2)]
            bench.records[trial["id"]]["curves"] = curve

    drawing, _ = draw(bench, {"kind": "bars", "metrics": "clean.accuracy"})
    assert drawing.caption.endswith(" Drawn: 16 of 17 targets and n.")
    drawing, _ = draw(bench, {"kind": "delta_vs_epoch", "curve": "train_loss"})
    assert drawing.caption.endswith(" Drawn: 6 of 17 targets and n.")


def test_labels_beyond_those_of_a_matrix_are_told(bench: Bench) -> None:
    for place in range(MAX_LABELS + 1):
        bench.trial(f"source {place}", 0, 0.5, 0.1)

    drawing, _ = draw(bench, {"kind": "matrix", "metric": "clean.accuracy"})

    assert drawing.caption.endswith("; drawn: the first 40 labels of an axis.")


def test_rows_of_a_plugin_are_those_of_the_tables(bench: Bench) -> None:
    inputs = RunFigureInputs({"kind": "toy/any"}, gather_run_data(bench.filled().run()))

    rows = inputs.rows("clean.accuracy")

    assert [(row.target, row.n, row.source, row.transfer) for row in rows] == [
        ("digits", 20, "natural", "probe"),
        ("digits", 20, "robust", "probe"),
    ]
    assert [row.mean for row in rows] == pytest.approx([0.6, 2.2 / 3])
    assert rows[0].values == {(None, 0): 0.5, (None, 1): 0.6, (None, 2): 0.7}


def test_all_own_kinds_say_what_they_show() -> None:
    assert all(kind.help.endswith(".") for kind in Host([]).own_figure_kinds.values())


def dots_plugin() -> SimpleNamespace:
    """Return a plugin with a kind that draws a dot for each row."""

    def draw_dots(inputs: FigureInputs) -> Drawing | None:
        rows = inputs.rows(str(inputs.settings["metric"]))

        def build() -> Figure:
            figure = Figure(layout="constrained")
            figure.subplots().plot([row.mean for row in rows], range(len(rows)), "o")
            return figure

        return Drawing("dots", build, f"{len(rows)} dots.", "A dot for each row.")

    @hookimpl
    def register_figures() -> list[FigureKind]:
        return [FigureKind("dots", draw_dots, required={"metric": "metric"})]

    return SimpleNamespace(register_figures=register_figures)


def test_a_page_shows_the_figure_of_a_plugin_or_says_that_it_is_not_installed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.leaderboard["figures"] = [{"kind": "toy/dots", "metric": "clean.accuracy"}]
    bench.filled()
    without = make_page(bench.run())
    plugin = Plugin("toy", dots_plugin(), "toy-plugin", "1.0")
    monkeypatch.setattr(Host, "discover", lambda: Host([plugin]))
    page = make_page(bench.run())

    assert list(page.figures) == ["toy_dots_dots.svg"]
    assert "![2 dots.](toy_dots_dots.svg)\n\nA dot for each row." in page.markdown
    assert without.figures == {}
    assert (
        "'toy/dots'" in without.markdown.partition("## Requested by the suite, but in no record")[2]
    )
