"""Paths of a machine in what is published: they name its user and folders, and help nobody else.

No id depends on one, since a node holds files by their content (`advtransfer.node`), so a suite can name
them relative to its own folder or to ADVTRANSFER_DATA without any new measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from advtransfer.errors import Problem
from advtransfer.result.run_folder import Run
from advtransfer.types import Json

_START = r"(?:file:/+|~/|[A-Za-z]:[\\/](?=\w)|\\\\(?=\w)|/(?=[\w.]))"
# What may stand before a bare path: no part of a word, a fraction, a URL, a formula or base64.
_PATH = re.compile(
    rf"(?P<quote>['\"])(?P<quoted>{_START}[^'\"\n]*)(?P=quote)"
    rf"|(?<![\w./~\\<+%)\]}}|*$])(?P<bare>{_START}[^\s'\",;)\]}}]*)"
)
_VALUE_MARKS = ":[,{-="
"""What ends before a value in YAML and in messages; elsewhere a single ``/word`` is text."""

_RECORD_STEP = (
    "the plugin behind it wrote this text: correct it there, raise its version, and run again"
)
_OPTION_STEP = (
    "it is part of the id: change this option in the suite, and run again what depends on it"
)
_NEXT_STEPS = {
    "suite.yaml": "write it relative to the suite's folder or to ADVTRANSFER_DATA, or leave it out, and "
    "run again: ids hold contents, so nothing is measured again",
    "plan.json": "write it relative, or rename the label, in the suite, and run again",
    "citation": "correct the file that --citation names",
    "environments": "unset the variable or reinstall the package that it comes from, and run again",
    "files": "the evaluation wrote it: correct it there, raise its version, and run again",
}


class FoundPath(NamedTuple):
    """A path of a machine, and where it stands: a file with its line, and the field of its JSON."""

    path: str
    where: str
    field: str = ""


def machine_paths(text: str) -> list[str]:
    """Return the absolute paths in a text, those from a home folder included."""
    # Most texts of records are digests and packed outcomes.
    if "/" not in text and "\\" not in text:
        return []
    return [_path_of(match) for match in _PATH.finditer(text) if _is_path(match)]


def shorten_paths(text: str) -> str:
    """Return a text in which the last part of each absolute path alone is left."""

    def shortened(match: re.Match[str]) -> str:
        if not _is_path(match):
            return match[0]
        path = _path_of(match)
        return match[0].replace(path, re.split(r"[\\/]", path.rstrip("\\/"))[-1])

    return _PATH.sub(shortened, text)


def machine_path_problems(bundle: Path) -> list[Problem]:
    """Return a problem for each path of a machine in a bundle that is to be published.

    The same path in the same field of many records is one problem, with the first place.
    """
    places: dict[tuple[str, str, str], list[str]] = {}
    for found in _found_paths(bundle):
        kind = found.where.partition("/")[0].partition(":")[0]
        places.setdefault((kind, found.field, found.path), []).append(found.where)
    problems: list[Problem] = []
    for (kind, field, path), wheres in places.items():
        where = f"{wheres[0]}{f', {field}' if field else ''}"
        more = f" and {len(wheres) - 1} more" if len(wheres) > 1 else ""
        record_step = _OPTION_STEP if field.startswith("asked.") else _RECORD_STEP
        expected = "no path of a machine in what is published"
        next_step = _NEXT_STEPS.get(kind, record_step)
        problems.append(Problem(f"{path[:200]!r} in {where}{more}", expected, next_step))
    return problems


def _path_of(match: re.Match[str]) -> str:
    return str(match["quoted"] or match["bare"])


def _is_path(match: re.Match[str]) -> bool:
    """Return whether a match is a path; a bare ``/word`` is one only where a value begins."""
    bare = match["bare"]
    if bare is None or not bare.startswith("/") or "/" in bare[1:]:
        return True
    before = match.string[: match.start()].rpartition("\n")[2].rstrip()
    return not before or before[-1] in _VALUE_MARKS


def _found_paths(bundle: Path) -> Iterator[FoundPath]:
    run = Run(bundle)
    for name in ("suite.yaml", "citation"):
        if (bundle / name).is_file():
            yield from _paths_in_lines(bundle / name, name)
    yield from _paths_in_json(run.read_plan(), "plan.json")
    for digest, environment in run.read_environments().items():
        yield from _paths_in_json(environment, f"environments/{digest}.json")
    for where, record in run.bundled_records():
        yield from _paths_in_json(record, where)
    for attempt in run.latest_attempts().values():
        yield from _paths_in_json(attempt, "attempts.jsonl")
    for path in sorted((bundle / "files").rglob("*")):
        if path.is_file():
            yield from _paths_in_lines(path, path.relative_to(bundle).as_posix())


def _paths_in_lines(file: Path, name: str) -> Iterator[FoundPath]:
    """Yield the paths in a text file, by line; a file of bytes has none that can be read."""
    try:
        lines = file.read_bytes().decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return
    for number, line in enumerate(lines, 1):
        for path in machine_paths(line):
            yield FoundPath(path, f"{name}:{number}")


def _paths_in_json(value: Json, where: str, field: str = "") -> Iterator[FoundPath]:
    """Yield the paths in all texts of a JSON value, names of fields included."""
    if isinstance(value, str):
        for path in machine_paths(value):
            yield FoundPath(path, where, field)
    elif isinstance(value, dict):
        for name, child in value.items():
            for path in machine_paths(name):
                yield FoundPath(path, where, field)
            yield from _paths_in_json(child, where, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for child in value:
            yield from _paths_in_json(child, where, field)
