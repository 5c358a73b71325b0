"""Files that evaluations wrote beside their records, and the selection that the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    inline_code,
    link_text,
)
from advtransfer.leaderboard.result_data import ResultData
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, group_rows

MAX_SHOWN = 12  # shown files per evaluation and name
MAX_PUBLISHED_BYTES = 1 << 20  # 1 MiB; larger files are not published
IMAGE_SUFFIXES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class PluginFigure:
    """One file of an evaluation.

    Attributes:
        evaluation: Label of the evaluation.
        name: Name that the evaluation gave to the file.
        location: Position in the grid.
        path: Path in the run folder.
    """

    evaluation: str
    name: str
    location: str
    path: str


def all_plugin_figures(data: RunData) -> list[PluginFigure]:
    """Return the files of the first trial of each row at each target's largest n.

    A file of a result that several trials share occurs once.
    """
    # One seed at one n, since the figures of all trials would fill the page.
    tables = group_rows(data)
    largest_n: dict[str, int | str] = {}
    for target, n in tables:  # sorted by n, so the last one of a target remains
        largest_n[target] = n
    figures: dict[tuple[str, str, str], PluginFigure] = {}
    for (target, n), rows in tables.items():
        if largest_n[target] == n:
            for row in rows:
                location = f"{row.label} -> {target} n={n} {row.transfer}"
                for figure in _row_figures(row, location, data):
                    key = (figure.evaluation, figure.name, figure.path)
                    figures.setdefault(key, figure)
    # The sort is stable: files of one evaluation and name keep the order of the tables.
    return sorted(figures.values(), key=lambda figure: (figure.evaluation, figure.name))


def _row_figures(row: LeaderboardRow, location: str, data: RunData) -> Iterator[PluginFigure]:
    for evaluation, result in _first_results(row, data):
        for name, path in _own_files(result):
            yield PluginFigure(evaluation, name, location, path)


def row_files(row: LeaderboardRow, evaluation: str, data: RunData) -> Iterator[tuple[str, str]]:
    """Yield name and path of the files of an evaluation, those of the row's first trial that has any."""
    for label, result in _first_results(row, data):
        if label == evaluation:
            yield from _own_files(result)


def _own_files(result: ResultData) -> Iterator[tuple[str, str]]:
    for name, path in sorted(result.files.items()):
        if _is_own_file(path, result.id):
            yield name, path


def shown_plugin_figures(data: RunData) -> list[PluginFigure]:
    """Return the files that the page shows: the first few of each evaluation and name."""
    groups: dict[tuple[str, str], list[PluginFigure]] = {}
    for figure in all_plugin_figures(data):
        groups.setdefault((figure.evaluation, figure.name), []).append(figure)
    return [figure for group in groups.values() for figure in group[:MAX_SHOWN]]


def plugin_figures_section(data: RunData) -> str:
    """Return the page section with these files, an empty string without any."""
    figures = shown_plugin_figures(data)
    if not figures:
        return ""
    parts: list[str] = []
    for figure in figures:
        heading = f"### {escape_markdown(figure.evaluation)}: {escape_markdown(figure.name)}"
        if heading not in parts:
            parts.append(heading)
        parts.append(_figure_link(figure, data))
    note = "Only the first seed of each row, at the largest n"
    more = len(all_plugin_figures(data)) - len(figures)
    if more > 0:
        note = f"{note}; {count_noun(more, 'more file')} in the run folder"
    return "\n\n".join(["## Figures of the evaluations", *parts, f"{note}."])


def _figure_link(figure: PluginFigure, data: RunData) -> str:
    location = escape_markdown(figure.location)
    if figure.path not in data.files:
        path = inline_code(figure.path)
        return f"{location}: {path} is missing (files over 1 MiB are not published)."
    id = PurePosixPath(figure.path).parts[1]
    parts = [data.folder, data.subfolders.get(id, ""), figure.path]
    link = quote("/".join(filter(None, parts)))
    image = "!" if PurePosixPath(figure.path).suffix in IMAGE_SUFFIXES else ""
    return f"{image}[{link_text(figure.location)}]({link})\n\n{location}"


def _first_results(row: LeaderboardRow, data: RunData) -> Iterator[tuple[str, ResultData]]:
    """Yield the results, with their evaluation, of a row's first trial that has any file."""
    for trial in row.trials:
        results: list[tuple[str, ResultData]] = []
        for label, ids in sorted(trial.evaluations.items()):
            results += [(label, data.results[id]) for id in ids if id in data.results]
        if any(result.files for _, result in results):
            yield from results
            return


def _is_own_file(path: str, id: str) -> bool:
    """Return whether a path is that of a file of the record with this id.

    A published run may come from anybody, so a record must not name a path outside its own folder.
    """
    parts = PurePosixPath(path).parts
    if len(parts) != 3 or parts[:2] != ("files", id):
        return False
    return parts[2] not in ("..", ".")
