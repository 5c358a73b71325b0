"""Writing of pages: beside the records of a run, or in a folder of published pages and records."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from advtransfer.errors import BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.leaderboard.index import IndexEntry, index_entry, index_page
from advtransfer.leaderboard.page import make_page
from advtransfer.leaderboard.plugin_figures import MAX_PUBLISHED_BYTES, shown_plugin_figures
from advtransfer.leaderboard.run_data import RunData, RunRecords, gather_run_data
from advtransfer.result import Run
from advtransfer.result.bundle import write_bundle
from advtransfer.result.challenges import read_challenges
from advtransfer.result.validation import path_without_links


def load_run_records(run: Run) -> RunRecords:
    """Read the inputs of a page from a run folder or a published bundle."""
    file_sizes: dict[str, int] = {}
    for path in (run.path / "files").glob("*/*"):
        if path_without_links(run.path, path).is_file():
            file_sizes[path.relative_to(run.path).as_posix()] = path.stat().st_size
    challenges, challenge_faults = read_challenges(run.path)
    return RunRecords(
        run.read_plan(),
        run.read_records(),
        run.latest_attempts().values(),
        run.read_environments(),
        file_sizes,
        root=run.path,
        damaged={**run.damaged_records(), **challenge_faults},
        challenges=challenges,
    )


def write_page(
    run: Run, path: Path | None = None, *, warn: Callable[[str], None] | None = None
) -> Path:
    """Write the page of a run and its figures, and return the path of the page.

    Args:
        run: The run.
        path: File to write, by default the run's ``leaderboard.md``; figures are written beside it.
        warn: Called with one line for each page setting of the suite that the records cannot meet.
    """
    path = path or run.path / "leaderboard.md"
    folder = Path(os.path.relpath(run.path, path.parent)).as_posix()
    page = make_page(replace(load_run_records(run), folder="" if folder == "." else folder))
    # Figures first: readers of the new page then find every file that it links to.
    for name, svg in page.figures.items():
        write_atomic(path.parent / name, svg)
    if warn is not None:
        for problem in page.problems:
            warn(str(problem))
    write_atomic(path, _encode_page(page.markdown))
    return path


def publish_run(run: Run, out: Path, *, warn: Callable[[str], None] | None = None) -> Path:
    """Write the records and the page of a run into a folder of published runs.

    The records, with the arrays and files that the page uses, are in ``results/<suite>/``, the page
    is ``<suite>/README.md``, and ``README.md`` lists all pages. Returns the path of the page.

    Raises:
        BadInput: The suite's name is reserved, or the run holds links or damaged records.
    """
    suite = str(run.read_plan()["suite"])
    if suite in ("results", "README.md"):
        problem = Problem(
            f"a suite named {suite!r}",
            "another name, since the published folder uses this one",
            "rename the suite file, and run it again",
        )
        raise BadInput([problem])
    bundle = out / "results" / suite
    # Generating a page again from its own bundle must not copy the bundle onto itself.
    if bundle.resolve() != run.path.resolve():
        _require_intact(run)
        data = gather_run_data(load_run_records(run))
        samples = {id: set(result.image_values) for id, result in data.results.items()}
        write_bundle(run, bundle, samples=samples)
        _copy_shown_files(run, bundle, data)
    page_path = write_page(Run(bundle), out / suite / "README.md", warn=warn)
    write_atomic(out / "README.md", _encode_page(_index_text(out)))
    return page_path


def _encode_page(markdown: str) -> bytes:
    # Labels come from foreign files and may hold lone surrogates, which UTF-8 cannot encode.
    return markdown.encode("utf-8", "backslashreplace")


def _require_intact(run: Run) -> None:
    """Refuse a run with links or damaged records, before anything published is replaced.

    Raises:
        BadInput: Names every link, or else every damaged record.
    """
    problems = _link_problems(run) or _damage_problems(run)
    if problems:
        raise BadInput(problems)


def _link_problems(run: Run) -> list[Problem]:
    """Return a problem for each symbolic link; a link may lead out of the run folder."""
    problems: list[Problem] = []
    for folder, folder_names, file_names in os.walk(run.path):
        for name in (*folder_names, *file_names):
            path = Path(folder) / name
            if path.is_symlink():
                expected = "a file or folder of its own"
                problems.append(Problem(f"{str(path)!r}, a link", expected, "replace it by one"))
    return problems


def _damage_problems(run: Run) -> list[Problem]:
    next_step = "run the suite again, which measures it again, or ask the author of the run"
    return [
        Problem(f"a damaged record {str(run.path / path)!r} ({reason})", "intact ones", next_step)
        for path, reason in run.damaged_records().items()
    ]


def _copy_shown_files(run: Run, bundle: Path, data: RunData) -> None:
    """Copy the files that the page shows, up to `MAX_PUBLISHED_BYTES`, and remove older ones."""
    shutil.rmtree(bundle / "files", ignore_errors=True)
    for figure in shown_plugin_figures(data):
        size = data.files.get(figure.path)
        if size is not None and size <= MAX_PUBLISHED_BYTES:
            source = path_without_links(run.path, run.path / figure.path)
            write_atomic(bundle / figure.path, source.read_bytes())


def _index_text(out: Path) -> str:
    """Return the index of all published runs, whose pages are made anew."""
    entries: list[IndexEntry] = []
    for path in sorted((out / "results").glob("*/plan.json")):
        records = load_run_records(Run(path.parent))
        title, suite = str(records.plan["title"]), str(records.plan["suite"])
        entries.append(index_entry(make_page(records), title=title, link=f"{suite}/README.md"))
    return index_page(entries)
