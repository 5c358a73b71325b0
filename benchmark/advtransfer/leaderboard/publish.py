"""From a run folder to files.

The page beside the records, or in a folder of published pages and records.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from advtransfer.errors import BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.leaderboard.markdown import escape_markdown
from advtransfer.leaderboard.page import make_page
from advtransfer.leaderboard.plugin_figures import MAX_PUBLISHED_BYTES, shown_plugin_figures
from advtransfer.leaderboard.run_data import RunData, RunRecords, gather_run_data
from advtransfer.result import Run
from advtransfer.result.bundle import write_bundle
from advtransfer.result.validation import path_without_links


def load_run_records(run: Run) -> RunRecords:
    """What a page is made from, read from a run folder or a bundle."""
    there = [
        path
        for path in (run.path / "files").glob("*/*")
        if path_without_links(run.path, path).is_file()
    ]
    files = {path.relative_to(run.path).as_posix(): path.stat().st_size for path in there}
    return RunRecords(
        run.read_plan(),
        run.read_records(),
        run.latest_attempts().values(),
        run.read_environments(),
        files,
        root=run.path,
        damaged=run.damaged_records(),
    )


def write_page(
    run: Run, path: Path | None = None, *, warn: Callable[[str], None] | None = None
) -> Path:
    """Write the page of a run, by default as its ``leaderboard.md``, with the figures beside it.

    `warn` is told, a line each, what the suite asks to be shown and no record has; the page says it too.
    """
    path = path or run.path / "leaderboard.md"
    folder = Path(os.path.relpath(run.path, path.parent)).as_posix()
    made = make_page(replace(load_run_records(run), folder="" if folder == "." else folder))
    for name, svg in made.figures.items():
        write_atomic(path.parent / name, svg)
    if warn is not None:
        for problem in made.problems:
            warn(str(problem))
    write_atomic(path, made.markdown.encode("utf-8", "backslashreplace"))
    return path


def publish_run(run: Run, out: Path, *, warn: Callable[[str], None] | None = None) -> Path:
    """Write ``results/<suite>/`` (the records), ``<suite>/README.md`` (their page) and ``README.md`` (all pages).

    Beside the records go the arrays and the files that their page is made from.
    """
    suite = str(run.read_plan()["suite"])
    if suite in ("results", "README.md"):
        found, expected = (
            f"a suite named {suite!r}",
            "another name, since what is published has that one",
        )
        raise BadInput([Problem(found, expected, "rename the suite file, and run it again")])
    bundle = out / "results" / suite
    if bundle.resolve() != run.path.resolve():
        _require_intact(run)
        evidence = gather_run_data(load_run_records(run))
        write_bundle(
            run, bundle, samples={id: set(one.image_values) for id, one in evidence.results.items()}
        )
        _copy_shown_files(run, bundle, evidence)
    written = write_page(Run(bundle), out / suite / "README.md", warn=warn)
    write_atomic(out / "README.md", _index_page(out).encode("utf-8", "backslashreplace"))
    return written


def _require_intact(run: Run) -> None:
    """Refuse a run of which something leads elsewhere or is damaged, before anything published is replaced.

    Raises:
        BadInput: Names every link and damaged record.
    """
    problems = [
        Problem(f"{str(place)!r}, a link", "a file or folder of its own", "replace it by one")
        for folder, folders, files in os.walk(run.path)
        for place in (Path(folder) / name for name in (*folders, *files))
        if place.is_symlink()
    ]
    if not problems:
        next_step = "run the suite again, which measures it again, or ask whoever ran it"
        problems = [
            Problem(
                f"a damaged record {str(run.path / place)!r} ({reason})", "whole ones", next_step
            )
            for place, reason in run.damaged_records().items()
        ]
    if problems:
        raise BadInput(problems)


def _copy_shown_files(run: Run, bundle: Path, evidence: RunData) -> None:
    """Copy the files that the page shows, none over `MAX_PUBLISHED_BYTES`; what an earlier publication left goes."""
    shutil.rmtree(bundle / "files", ignore_errors=True)
    for picture in shown_plugin_figures(evidence):
        if evidence.files.get(picture.path, MAX_PUBLISHED_BYTES + 1) <= MAX_PUBLISHED_BYTES:
            write_atomic(
                bundle / picture.path,
                path_without_links(run.path, run.path / picture.path).read_bytes(),
            )


def _index_page(out: Path) -> str:
    plans = [Run(path.parent).read_plan() for path in sorted((out / "results").glob("*/plan.json"))]
    lines = [
        f"- [{escape_markdown(str(plan['title']))}]({plan['suite']}/README.md)" for plan in plans
    ]
    return "\n".join(
        [
            "# Leaderboards",
            "",
            "Generated by `advtransfer leaderboard RUN --out DIR` from `results/`.",
            "",
            *lines,
            "",
        ]
    )
