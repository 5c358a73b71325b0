"""The files that evaluations wrote beside their records, as the page shows them: few of many, and which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from advtransfer.leaderboard.evidence import Answer, Evidence
from advtransfer.leaderboard.markdown import code, escaped, many
from advtransfer.leaderboard.rows import Row, tables

SHOWN = 12  # of one evaluation's files of one name
LARGEST = 1 << 20  # bytes of a file that is published
IMAGES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class Picture:
    """One file: the evaluation and the name it gave, where in the grid, its path in the run folder."""

    evaluation: str
    name: str
    where: str
    path: str


def pictures(evidence: Evidence) -> list[Picture]:
    """Every file of the first trial of each row, at each target's largest n; one result is told once."""
    there = tables(evidence)
    last = dict(list(there))  # by target; places come in the order of n
    found: dict[tuple[str, str, str], Picture] = {}
    for (target, n), rows in there.items():
        for row in rows if last[target] == n else []:
            for evaluation, answer in _first(row, evidence):
                for name, path in sorted(answer.files.items()):
                    if _inside(path, answer.id):
                        where = f"{row.label} -> {target} n={n} {row.transfer}"
                        found.setdefault((evaluation, name, path), Picture(evaluation, name, where, path))
    return [found[key] for key in sorted(found, key=lambda key: (key[0], key[1]))]


def shown(evidence: Evidence) -> list[Picture]:
    """Those that the page shows: the first few of each evaluation and name."""
    kept: dict[tuple[str, str], list[Picture]] = {}
    for one in pictures(evidence):
        kept.setdefault((one.evaluation, one.name), []).append(one)
    return [one for several in kept.values() for one in several[:SHOWN]]


def gallery(evidence: Evidence) -> str:
    """The section of the page; nothing where no evaluation wrote a file."""
    there = shown(evidence)
    if not there:
        return ""
    parts: list[str] = []
    for one in there:
        heading = f"### {escaped(one.evaluation)}: {escaped(one.name)}"
        parts += [heading] if heading not in parts else []
        parts.append(_shown(one, evidence))
    more = len(pictures(evidence)) - len(there)
    note = "Of each row its first seed, at the largest n" + (
        f"; {many(more, 'more file')} in the run folder." * (more > 0) or "."
    )
    return "\n\n".join(["## What the evaluations drew", *parts, note])


def _shown(picture: Picture, evidence: Evidence) -> str:
    where = escaped(picture.where)
    if picture.path not in evidence.files:
        return f"{where}: {code(picture.path)} is not here (files over 1 MiB are not published)."
    link = quote(f"{evidence.folder}/{picture.path}" if evidence.folder else picture.path)
    image = "!" if PurePosixPath(picture.path).suffix in IMAGES else ""
    return f"{image}[{where}]({link})\n\n{where}"


def _first(row: Row, evidence: Evidence) -> Iterator[tuple[str, Answer]]:
    """The results of a row's first trial that has any with files, by evaluation."""
    for trial in row.trials:
        ids = [(label, id) for label, several in sorted(trial.evaluations.items()) for id in several]
        answers = [(label, evidence.answers[id]) for label, id in ids if id in evidence.answers]
        if any(answer.files for _, answer in answers):
            yield from answers
            return


def _inside(path: str, id: str) -> bool:
    """Whether a record names a file of its own: one that another wrote could lead anywhere."""
    parts = PurePosixPath(path).parts
    return len(parts) == 3 and parts[:2] == ("files", id) and parts[2] not in ("..", ".")
