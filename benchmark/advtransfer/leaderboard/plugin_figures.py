"""Files that evaluations wrote beside their records, and the few of them that the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from advtransfer.leaderboard.markdown import count_noun, escape_markdown, inline_code
from advtransfer.leaderboard.run_data import ResultData, RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, group_rows

MAX_SHOWN = 12  # of one evaluation's files of one name
MAX_PUBLISHED_BYTES = 1 << 20  # bytes of a file that is published
IMAGE_SUFFIXES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class PluginFigure:
    """One file: the evaluation and the name it gave, where in the grid, its path in the run folder."""

    evaluation: str
    name: str
    location: str
    path: str


def all_plugin_figures(evidence: RunData) -> list[PluginFigure]:
    """Every file of the first trial of each row, at each target's largest n; one result is told once."""
    there = group_rows(evidence)
    last = dict(list(there))  # by target; places come in the order of n
    found: dict[tuple[str, str, str], PluginFigure] = {}
    for (target, n), rows in there.items():
        for row in rows if last[target] == n else []:
            for evaluation, answer in _first_results(row, evidence):
                for name, path in sorted(answer.files.items()):
                    if _is_own_file(path, answer.id):
                        where = f"{row.label} -> {target} n={n} {row.transfer}"
                        found.setdefault(
                            (evaluation, name, path), PluginFigure(evaluation, name, where, path)
                        )
    return [found[key] for key in sorted(found, key=lambda key: (key[0], key[1]))]


def shown_plugin_figures(evidence: RunData) -> list[PluginFigure]:
    """Those that the page shows: the first few of each evaluation and name."""
    kept: dict[tuple[str, str], list[PluginFigure]] = {}
    for one in all_plugin_figures(evidence):
        kept.setdefault((one.evaluation, one.name), []).append(one)
    return [one for several in kept.values() for one in several[:MAX_SHOWN]]


def plugin_figures_section(evidence: RunData) -> str:
    """The section of the page; nothing where no evaluation wrote a file."""
    there = shown_plugin_figures(evidence)
    if not there:
        return ""
    parts: list[str] = []
    for one in there:
        heading = f"### {escape_markdown(one.evaluation)}: {escape_markdown(one.name)}"
        parts += [heading] if heading not in parts else []
        parts.append(_figure_link(one, evidence))
    more = len(all_plugin_figures(evidence)) - len(there)
    note = "Of each row its first seed, at the largest n" + (
        f"; {count_noun(more, 'more file')} in the run folder." * (more > 0) or "."
    )
    return "\n\n".join(["## What the evaluations drew", *parts, note])


def _figure_link(picture: PluginFigure, evidence: RunData) -> str:
    where = escape_markdown(picture.location)
    if picture.path not in evidence.files:
        return f"{where}: {inline_code(picture.path)} is not here (files over 1 MiB are not published)."
    link = quote(f"{evidence.folder}/{picture.path}" if evidence.folder else picture.path)
    image = "!" if PurePosixPath(picture.path).suffix in IMAGE_SUFFIXES else ""
    return f"{image}[{where}]({link})\n\n{where}"


def _first_results(row: LeaderboardRow, evidence: RunData) -> Iterator[tuple[str, ResultData]]:
    """The results of a row's first trial that has any with files, by evaluation."""
    for trial in row.trials:
        ids = [
            (label, id) for label, several in sorted(trial.evaluations.items()) for id in several
        ]
        answers = [(label, evidence.results[id]) for label, id in ids if id in evidence.results]
        if any(answer.files for _, answer in answers):
            yield from answers
            return


def _is_own_file(path: str, id: str) -> bool:
    """Whether a record names a file of its own: one that another wrote could lead anywhere."""
    parts = PurePosixPath(path).parts
    return len(parts) == 3 and parts[:2] == ("files", id) and parts[2] not in ("..", ".")
