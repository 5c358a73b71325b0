"""Export of one run: which formats there are, which table each can hold, and where it may go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from advtransfer.errors import BadInput, Problem
from advtransfer.export.evidence import EvidenceIndex
from advtransfer.export.html_page import html_page
from advtransfer.export.latex import LATEX_HEADER, latex_tables
from advtransfer.export.rows import EXPORT_TABLES, table_rows
from advtransfer.export.writers import require_pyarrow, write_csv, write_json, write_parquet
from advtransfer.files import open_atomic
from advtransfer.leaderboard import Page, load_run_records, make_page
from advtransfer.leaderboard.plugin_figures import MAX_PUBLISHED_BYTES, shown_plugin_figures
from advtransfer.leaderboard.run_data import RunData, gather_run_data
from advtransfer.result import Run
from advtransfer.result.validation import path_without_links

CSV_STARTS = tuple(
    f"{columns[0].name},{columns[1].name},".encode() for columns in EXPORT_TABLES.values()
)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format of exports.

    Attributes:
        suffixes: Suffixes of its files; the first is the usual one.
        starts: The bytes that such a file may begin with.
        tables: The tables that it can hold.
        is_text: Whether it may go to a terminal.
    """

    suffixes: tuple[str, ...]
    starts: tuple[bytes, ...]
    tables: tuple[str, ...] = ("metrics", "outcomes")
    is_text: bool = True


EXPORT_FORMATS: Mapping[str, ExportFormat] = {
    "csv": ExportFormat((".csv",), CSV_STARTS),
    "parquet": ExportFormat((".parquet",), (b"PAR1",), is_text=False),
    "json": ExportFormat((".json",), (b"[\n{", b"[]")),
    "latex": ExportFormat((".tex",), (LATEX_HEADER.encode()[:40],), ("metrics",)),
    "html": ExportFormat((".html", ".htm"), (b"<!doctype html>",), ("metrics",)),
}
LINE_WRITERS = {"csv": write_csv, "json": write_json, "parquet": write_parquet}


def require_exportable(table: str, format: str, out: Path | None) -> None:
    """Refuse a request that cannot be met, before anything is read or written.

    Args:
        table: A name of `EXPORT_TABLES`.
        format: A name of `EXPORT_FORMATS`.
        out: The file to write; None for standard output.

    Raises:
        BadInput: Names every reason.
        MissingLibrary: The format needs a library that is not installed.
    """
    problems = [*_format_problems(table, format, out), *_target_problems(format, out)]
    if problems:
        raise BadInput(problems)
    if format == "parquet":
        require_pyarrow()


def export_to_path(
    run: Run, path: Path, *, table: str, format: str, warn: Callable[[str], None]
) -> None:
    """Write an export into a file, which is there completely or not at all."""
    with open_atomic(path) as file:
        export_run(run, file, table=table, format=format, warn=warn)


def export_run(
    run: Run, file: BinaryIO, *, table: str, format: str, warn: Callable[[str], None]
) -> None:
    """Write an export of a run.

    Args:
        run: A run folder or a published bundle.
        file: The file to write.
        table: A name of `EXPORT_TABLES`.
        format: A name of `EXPORT_FORMATS`.
        warn: Called with one line for each setting of the page that the records cannot meet.
    """
    if format in LINE_WRITERS:
        data = gather_run_data(load_run_records(run, find_damaged=False))
        LINE_WRITERS[format](table_rows(table, data), EXPORT_TABLES[table], file)
        return
    records = load_run_records(run)
    page = make_page(records)
    for problem in page.problems:
        warn(str(problem))
    data = gather_run_data(replace(records, records=run.read_records()), keep_checks=True)
    text = _page_text(run, page, data, format=format)
    file.write(text.encode("utf-8", "backslashreplace"))


def _page_text(run: Run, page: Page, data: RunData, *, format: str) -> str:
    """Return the page of a run in LaTeX or HTML."""
    evidence = EvidenceIndex(data)
    if format == "latex":
        return latex_tables(page.markdown, evidence.headings)
    shown = {figure.path for figure in shown_plugin_figures(data)}

    def read_figure(path: str) -> bytes | None:
        if path in page.figures:
            return page.figures[path]
        # Only what the page itself would show: a record names no other file.
        if path not in shown or data.files.get(path, MAX_PUBLISHED_BYTES + 1) > MAX_PUBLISHED_BYTES:
            return None
        return path_without_links(run.path, run.path / path).read_bytes()

    title = data.plan.title or data.plan.suite
    return html_page(page.markdown, title=title, evidence=evidence, figures=read_figure)


def _format_problems(table: str, format: str, out: Path | None) -> list[Problem]:
    problems: list[Problem] = []
    tables = EXPORT_FORMATS[format].tables
    if table not in tables:
        formats = [name for name, each in EXPORT_FORMATS.items() if table in each.tables]
        expected = f"one of {', '.join(formats)}, since {format} shows the tables of the page"
        found = f"the table {table!r} in the format {format}"
        problems.append(Problem(found, expected, "choose one of these formats"))
    if out is None and not EXPORT_FORMATS[format].is_text:
        found = f"--out - for the format {format}"
        problems.append(Problem(found, "a file, since it is no text", "name a file"))
    return problems


def _target_problems(format: str, out: Path | None) -> list[Problem]:
    """Return why a file cannot be written: it is of another kind, by its name or its content."""
    if out is None:
        return []
    name = repr(str(out))
    suffixes = EXPORT_FORMATS[format].suffixes
    others = {suffix for each in EXPORT_FORMATS.values() for suffix in each.suffixes}
    if out.suffix.lower() in others.difference(suffixes):
        found = f"{name} for the format {format}"
        next_step = f"name a {suffixes[0]} file, or choose another --format"
        return [Problem(found, f"a file that ends in {suffixes[0]}", next_step)]
    if out.is_symlink() or (out.exists() and not out.is_file()):
        found = f"{name}, which is a folder, a link or a device"
        return [Problem(found, "a file, or - for standard output", "name another file")]
    if out.is_file() and not _is_export(out, format):
        found = f"an existing file {name} that is no {format} export"
        return [
            Problem(found, "a new file, or an earlier export", "name another file, or remove it")
        ]
    return []


def _is_export(path: Path, format: str) -> bool:
    """Return whether a file begins as an export of this format does; an empty one may be replaced."""
    starts = EXPORT_FORMATS[format].starts
    with path.open("rb") as file:
        start = file.read(max(map(len, starts)))
    return not start or start.startswith(starts)
