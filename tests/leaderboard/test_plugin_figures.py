"""Figures of evaluations are linked on the page and published up to a size limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import make_page, write_page
from advtransfer.leaderboard.plugin_figures import MAX_PUBLISHED_BYTES, MAX_SHOWN
from advtransfer.publication.publish import Origin
from advtransfer.publication.publish import publish_run as publish
from advtransfer.result import Run

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench


def add_figure(
    bench: Bench, source: str, seed: int = 0, *, n: int = 20, name: str = "grid.png"
) -> str:
    """Add a trial whose clean evaluation wrote a file, and return its path in the run folder."""
    id = bench.trial(source, seed, 0.5, 0.1, n=n)["evaluations"]["clean"][0]
    bench.records[id]["files"] = {"grid": f"files/{id}/{name}"}
    return f"files/{id}/{name}"


@pytest.fixture
def folder(bench: Bench, written: Callable[[Bench, Run], Run], tmp_path: Path) -> Run:
    """A run folder with two figures, one of which is too large to publish."""
    run = Run(tmp_path / "run")
    for source, size in (("natural", 10), ("robust", MAX_PUBLISHED_BYTES + 1)):
        path = run.path / add_figure(bench, source)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * size)
    return written(bench, run)


def test_a_page_shows_the_figures_of_the_first_seed_at_the_largest_n(bench: Bench) -> None:
    add_figure(bench, "natural", n=20)
    shown, other = add_figure(bench, "natural", n=50), add_figure(bench, "natural", 1, n=50)
    page = make_page(replace(bench.run(), files={shown: 10, other: 10})).markdown

    assert "## Figures of the evaluations\n\n### clean: grid\n\n" in page
    assert f"![natural -> digits n=50 probe]({shown})\n\nnatural -> digits n=50 probe\n" in page
    assert 1 == page.count(".png")


def test_page_without_plugin_figures_has_no_section(bench: Bench) -> None:
    assert "## Figures of the evaluations" not in make_page(bench.filled().run()).markdown


def test_figures_beyond_the_limit_are_counted(bench: Bench) -> None:
    files = {add_figure(bench, f"source {place:02}"): 10 for place in range(MAX_SHOWN + 3)}
    page = make_page(replace(bench.run(), files=files)).markdown

    assert MAX_SHOWN == page.count("![")
    assert "3 more files in the run folder." in page


@pytest.mark.parametrize(
    "path", ["../../secret.png", "files/other/grid.png", "files/{id}/../../x.png"]
)
def test_record_shows_only_its_own_files(bench: Bench, path: str) -> None:
    id = bench.trial("natural", 0, 0.5, 0.1)["evaluations"]["clean"][0]
    bench.records[id]["files"] = {"grid": path.replace("{id}", id)}

    assert (
        ".png" not in make_page(replace(bench.run(), files={path.replace("{id}", id): 10})).markdown
    )


def test_names_cannot_break_a_link(bench: Bench) -> None:
    path = add_figure(bench, "natural", name="a (b) [c].html")
    page = make_page(replace(bench.run(), files={path: 10})).markdown

    assert f"\n[natural -> digits n=20 probe]({path[:-14]}a%20%28b%29%20%5Bc%5D.html)" in page


CITATION = Path(__file__).parents[2] / "CITATION.cff"


def publish_run(run: Run, out: Path) -> Path:
    """Publish a run as the founder of its board, and return the page of the board."""
    folder = publish(run, out, Origin("own", "A. Name", "MIT", CITATION), found=True)
    return out / folder.parent.name / "README.md"


def test_the_page_of_a_run_links_into_its_folder(folder: Run, tmp_path: Path) -> None:
    inside = write_page(folder).read_text("utf-8")
    outside = write_page(folder, tmp_path / "elsewhere" / "page.md").read_text("utf-8")

    assert 2 == inside.count("](files/")
    assert 2 == outside.count("](../run/files/")


def test_publishing_copies_shown_files_up_to_the_size_limit(folder: Run, tmp_path: Path) -> None:
    written = publish_run(folder, tmp_path / "out")
    published = written.read_text("utf-8")

    copied = list((tmp_path / "out" / "results" / "quick" / "own" / "files").glob("*/*"))
    assert [10] == [path.stat().st_size for path in copied]
    assert 1 == published.count("](../results/quick/own/files/")
    assert 1 == published.count("is missing (files over 1 MiB are not published)")


def test_published_page_equals_the_page_of_its_published_records(
    folder: Run, tmp_path: Path
) -> None:
    first = publish_run(folder, tmp_path / "out").read_bytes()
    again = publish_run(
        Run(tmp_path / "out" / "results" / "quick" / "own"), tmp_path / "out"
    ).read_bytes()
    copied = publish_run(
        Run(tmp_path / "out" / "results" / "quick" / "own"), tmp_path / "copy"
    ).read_bytes()

    assert first == again
    assert first == copied
