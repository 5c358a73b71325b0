"""The page of a run is made again where anything that it is made from has changed, and only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import keep_or_write_page, page_reuse, write_page
from advtransfer.result import Run

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench


@pytest.fixture
def run(bench: Bench, written: Callable[[Bench, Run], Run], tmp_path: Path) -> Run:
    """A run whose page is written, with a setting that its records cannot meet."""
    bench.leaderboard["rank_by"] = "clean.absent"
    bench.leaderboard["figures"] = [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}]
    bench.aligned("source 0", [0.5], 0.5)
    run = written(bench, Run(tmp_path / "run"))
    keep_or_write_page(run, warn=lambda text: None)
    return run


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pages that are made from now on."""
    paths: list[Path] = []

    def note(run: Run, *, warn: Callable[[str], None]) -> Path:
        paths.append(run.path)
        return write_page(run, warn=warn)

    monkeypatch.setattr(page_reuse, "write_page", note)
    return paths


def test_an_unchanged_page_is_kept_and_warns_again(run: Run, made: list[Path]) -> None:
    warnings: list[str] = []
    page = keep_or_write_page(Run(run.path), warn=warnings.append)

    assert [] == made
    assert "# " in page.read_text()
    assert any("clean.absent" in text for text in warnings)


def rewrite_record(run: Run) -> None:
    record = dict(next(run.read_records()))
    run.write_record({**record, "observed": {"seconds": {"fit": 5.0}}})


def remove_figure(run: Run) -> None:
    next(run.path.glob("*.svg")).unlink()


def edit_page(run: Run) -> None:
    path = run.path / "leaderboard.md"
    path.write_text(path.read_text() + "a note\n")


def add_attempt(run: Run) -> None:
    run.write_attempt({"id": "f" * 64, "reason": "it failed", "status": "failed"})


def add_environment(run: Run) -> None:
    run.write_environment({"device": "another"})


def change_plan(run: Run) -> None:
    run.write_plan({**run.read_plan(), "title": "Another"})


def damage_note(run: Run) -> None:
    (run.path / page_reuse.NOTE_NAME).write_text("{")


def add_damaged_record(run: Run) -> None:
    path = run.path / "records" / "00" / f"{'0' * 64}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")


@pytest.mark.parametrize(
    "change",
    [
        rewrite_record,
        remove_figure,
        edit_page,
        add_attempt,
        add_environment,
        change_plan,
        damage_note,
        add_damaged_record,
    ],
)
def test_any_change_makes_the_page_again(
    change: Callable[[Run], None], run: Run, made: list[Path]
) -> None:
    change(run)
    keep_or_write_page(Run(run.path), warn=lambda text: None)

    assert [run.path] == made


def test_a_renamed_folder_makes_the_page_again(run: Run, made: list[Path]) -> None:
    add_attempt(run)
    keep_or_write_page(Run(run.path), warn=lambda text: None)
    attempts = run.path / "attempts"
    (attempts / ("f" * 64)).rename(attempts / ("e" * 64))
    keep_or_write_page(Run(run.path), warn=lambda text: None)

    assert [run.path, run.path] == made


def test_other_code_makes_the_page_again(
    run: Run, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_reuse, "own_code_digest", lambda: b"another release")
    keep_or_write_page(Run(run.path), warn=lambda text: None)

    assert [run.path] == made


def test_a_page_with_another_time_is_made_again(run: Run, made: list[Path]) -> None:
    os.utime(run.path / "leaderboard.md", ns=(0, 0))
    keep_or_write_page(Run(run.path), warn=lambda text: None)

    assert [run.path] == made
