"""Reading of a page's inputs, and writing of the page of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from advtransfer.files import write_atomic
from advtransfer.leaderboard.page import make_page
from advtransfer.leaderboard.run_records import RunRecords
from advtransfer.result import Run
from advtransfer.result.challenges import read_challenges
from advtransfer.result.validation import path_without_links

PAGE_NAME = "leaderboard.md"


def load_run_records(run: Run, *, find_damaged: bool = True) -> RunRecords:
    """Read the inputs of a page from a run folder or a published bundle.

    Args:
        run: The run.
        find_damaged: Find the reasons why records are damaged, which takes as long as reading them.
            Damaged records are left out in either case.
    """
    file_sizes: dict[str, int] = {}
    for path in (run.path / "files").glob("*/*"):
        if path_without_links(run.path, path).is_file():
            file_sizes[path.relative_to(run.path).as_posix()] = path.stat().st_size
    challenges, challenge_faults = read_challenges(run.path)
    damaged = {**run.damaged_records(), **challenge_faults} if find_damaged else {}
    return RunRecords(
        run.read_plan(),
        run.read_records(),
        run.latest_attempts().values(),
        run.read_environments(),
        file_sizes,
        root=run.path,
        damaged=damaged,
        challenges=challenges,
    )


def write_page(
    run: Run,
    path: Path | None = None,
    *,
    warn: Callable[[str], None] | None = None,
    rasters: Path | None = None,
) -> Path:
    """Write the page of a run and its figures, and return the path of the page.

    Args:
        run: The run.
        path: File to write, by default the run's ``leaderboard.md``; figures are written beside it.
        warn: Called with one line for each page setting of the suite that the records cannot meet.
        rasters: Folder for the figures as PNG too, which trackers need.
    """
    path = path or run.path / PAGE_NAME
    folder = Path(os.path.relpath(run.path, path.parent)).as_posix()
    page = make_page(replace(load_run_records(run), folder="" if folder == "." else folder))
    # Figures first: readers of the new page then find every file that it links to.
    for name, svg in page.figures.items():
        write_atomic(path.parent / name, svg)
        if rasters is not None:
            png = page.drawings[name](format="png")
            write_atomic(rasters / Path(name).with_suffix(".png").name, png)
    if warn is not None:
        for problem in page.problems:
            warn(str(problem))
    write_atomic(path, encode_page(page.markdown))
    return path


def encode_page(markdown: str) -> bytes:
    """Return a page as UTF-8."""
    # Labels come from foreign files and may hold lone surrogates, which UTF-8 cannot encode.
    return markdown.encode("utf-8", "backslashreplace")
