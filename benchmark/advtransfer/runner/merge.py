"""Union of run folders of one suite, as one folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from advtransfer import files
from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.leaderboard import write_page
from advtransfer.result import Record, Run
from advtransfer.result.record import arrays_path
from advtransfer.result.record_file import load_json_object
from advtransfer.result.record_lines import record_files
from advtransfer.result.validation import ID_PATTERN, path_without_links
from advtransfer.runner.environment import (
    battery_size_of,
    halved_texts,
    recorded_settings,
    settings_text,
)
from advtransfer.types import Json

MAX_NAMED_CONTRADICTIONS = 10
"""Contradictions that are named one by one; of more, only the number is told."""


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """What a merged folder holds.

    Attributes:
        run: The folder.
        records: Number of its records.
        shared: Number of those that more than one folder had.
        attempts: Number of its attempts.
        page: Its page; None where no result is recorded.
    """

    run: Path
    records: int
    shared: int
    attempts: int
    page: Path | None


def merge_runs(
    paths: Sequence[Path],
    into: Path,
    *,
    mixed: bool = False,
    warn: Callable[[str], None] | None = None,
) -> MergeSummary:
    """Write the union of run folders of one suite, each node's record once.

    Of records that several folders have, that of the first folder is copied, byte for byte. Nothing is written where
    the folders contradict each other.

    Args:
        paths: The run folders.
        into: The folder to write, which must not exist.
        mixed: Join records of other devices, thread counts, precisions, named kernel batches, compilation or battery
            sizes too, and take the first folder's record where another environment gave another one.
        warn: Called with one line for each page setting of the suite that the records cannot meet, and for each
            folder with records of kernel batches that were halved.

    Raises:
        BadInput: A folder is no run, or is damaged, or they are of different suites or contradict each other; holds
            every problem.
    """
    runs = _open_runs(paths, into)
    owners = _owners_by_id(runs)
    problems = [
        *_suite_problems(runs),
        *(problem for run in runs for problem in _damage_problems(run)),
        *([] if mixed else _setting_problems(runs)),
        *(problem for run in runs for problem in _environment_problems(run)),
        *_file_contradictions(runs, "data", "data set"),
        *_file_contradictions(runs, "environments", "environment"),
    ]
    if not problems:
        # Damaged records cannot be compared.
        problems = _record_problems(owners, mixed=mixed)
    if problems:
        raise BadInput(problems)
    if warn is not None:
        for text in halved_texts(runs):
            warn(text)
    part = files.temporary_path(into)
    try:
        attempts = _write_union(runs, owners, part)
        page = write_page(Run(part), warn=warn) if _has_results(Run(part)) else None
        os.sync()  # All files at once, before the name that says that they are complete.
        part.rename(into)
        files.sync_folder(into.parent)
    finally:
        files.delete_if_present(part)
    shared = sum(len(each) > 1 for each in owners.values())
    return MergeSummary(into, len(owners), shared, attempts, page and into / page.name)


def _open_runs(paths: Sequence[Path], into: Path) -> list[Run]:
    problems: list[Problem] = []
    runs: dict[Path, Run] = {}
    for path in paths:
        try:
            run = Run.open(path)
        except BadInput as error:
            problems += error.problems
            continue
        if record_files(path):
            next_step = "name the run folder that it was published from"
            problems.append(
                Problem(f"the published bundle {str(path)!r}", "a run folder", next_step)
            )
        if path.resolve() in runs:
            problems.append(
                Problem(f"the folder {str(path)!r} twice", "each once", "leave one out")
            )
        runs[path.resolve()] = run
    if into.is_file() or (into.is_dir() and any(into.iterdir())):
        found = f"--into {str(into)!r}, which exists"
        problems.append(Problem(found, "a new folder", "name another, or move that one away"))
    if problems:
        raise BadInput(problems)
    return list(runs.values())


def _suite_problems(runs: Sequence[Run]) -> Iterator[Problem]:
    """Yield a problem for each folder of another suite, or with another plan, than the first."""
    first, *others = runs
    plan = _plan_of(first)
    for run in others:
        other = _plan_of(run)
        if other == plan:
            continue
        if other.get("suite") != plan.get("suite"):
            found = f"the suite {other.get('suite')} in {run.path}"
            expected = f"{plan.get('suite')}, as in {first.path}"
            yield Problem(found, expected, "merge folders of one suite")
            continue
        sizes = [len(cast("list[Json]", each["trials"])) for each in (other, plan)]
        found = f"another plan in {run.path} ({sizes[0]} trials)"
        expected = f"that of {first.path} ({sizes[1]} trials)"
        next_step = (
            "call `advtransfer run SUITE --limit 0` in both with one suite file: it writes the plan"
        )
        yield Problem(found, expected, next_step)


def _plan_of(run: Run) -> Record:
    plan = run.read_plan()
    # Its rule is that of `_setting_problems`.
    return {name: value for name, value in plan.items() if name != "battery"}


def _damage_problems(run: Run) -> Iterator[Problem]:
    next_step = "run the suite there again, which sets it aside and measures it anew"
    for location, fault in run.damaged_records().items():
        found, _, expected = fault.partition("; expected ")
        text = f"{run.path / location}: {found.removeprefix('found ')}"
        yield Problem(text, expected or "a valid record", next_step)
    for path in run.damaged_attempts():
        yield Problem(f"{path}: no attempt that can be read", "one", "delete it")


def _setting_problems(runs: Sequence[Run]) -> Iterator[Problem]:
    """Yield a problem for each setting of a folder's records that differs from those of the first record."""
    first: tuple[Run, dict[str, Json]] | None = None
    for run in runs:
        for settings in _settings_of(run):
            first = first or (run, settings)
            origin, expected = first
            names = [name for name in expected if settings[name] != expected[name]]
            if names:
                yield Problem(
                    f"{settings_text(settings, names)} in {run.path}",
                    f"{settings_text(expected, names)}, as in {origin.path}",
                    "merge runs with the same settings, or allow a mixture with --mixed",
                )


def _settings_of(run: Run) -> list[dict[str, Json]]:
    """Return the settings of a folder's records, each once: several in a folder that is a mixture."""
    battery = battery_size_of(run)
    environments = run.read_environments()
    found: list[dict[str, Json]] = []
    for record in run.read_records():
        provenance = cast("Mapping[str, Json]", record["provenance"])
        settings = recorded_settings(provenance, environments) | {"battery": battery}
        if settings not in found:
            found.append(settings)
    return found


def _environment_problems(run: Run) -> Iterator[Problem]:
    """Yield a problem for each environment that records name and the folder lacks."""
    named = {
        str(cast("Mapping[str, Json]", record["provenance"]).get("environment"))
        for record in run.read_records()
    }
    for digest in sorted(named - run.read_environments().keys()):
        path = run.path / "environments" / f"{digest}.json"
        next_step = "restore it, or run the suite there again, which writes that of this machine"
        yield Problem(
            f"no {path}, which records name", "a description of where they were made", next_step
        )


def _file_contradictions(runs: Sequence[Run], folder: str, kind: str) -> Iterator[Problem]:
    """Yield a problem for each file of a folder that two runs hold with different content."""
    first: dict[str, Run] = {}
    for run in runs:
        for path in _named_files(run, folder):
            owner = first.setdefault(path.stem, run)
            if load_json_object(path) != load_json_object(owner.path / folder / path.name):
                found = f"another {kind} {path.stem[:12]} in {run.path}"
                yield Problem(found, f"that of {owner.path}", "merge runs on the same data")


def _owners_by_id(runs: Sequence[Run]) -> dict[str, list[Run]]:
    owners: dict[str, list[Run]] = {}
    for run in runs:
        for id in sorted(run.finished_ids()):
            owners.setdefault(id, []).append(run)
    return owners


def _record_problems(owners: Mapping[str, Sequence[Run]], *, mixed: bool) -> list[Problem]:
    """Return the contradictions between records of one node, and the files that records lack."""
    contradictions: list[Problem] = []
    missing: list[Problem] = []
    for id, (first, *others) in owners.items():
        record = first.read_record(id)
        missing += _missing_files(first, record)
        for other in others:
            problem = _contradiction(first, record, other, other.read_record(id), mixed=mixed)
            if problem is not None:
                contradictions.append(problem)
    unnamed = len(contradictions) - MAX_NAMED_CONTRADICTIONS
    if unnamed > 0:
        found = f"{unnamed} more records that differ"
        del contradictions[MAX_NAMED_CONTRADICTIONS:]
        contradictions.append(Problem(found, "the same records", "see those above"))
    return [*contradictions, *missing]


def _contradiction(
    first: Run, record: Record, other: Run, other_record: Record, *, mixed: bool
) -> Problem | None:
    """Return the problem of two records of one node that differ outside `observed`, or None."""
    difference = first_difference(
        {name: value for name, value in record.items() if name != "observed"},
        {name: value for name, value in other_record.items() if name != "observed"},
    )
    if difference is None:
        return None
    field, expected, found = difference
    environments = [
        cast("Mapping[str, Json]", each["provenance"]).get("environment")
        for each in (record, other_record)
    ]
    is_other_environment = environments[0] != environments[1]
    if mixed and is_other_environment:
        return None
    next_step = (
        f"--mixed takes the records of {first.path}"
        if is_other_environment
        else "run `advtransfer verify` or compare the folders, and leave the wrong one out"
    )
    return Problem(
        f"{field} {_short(found)} in the {record['kind']} {record['id']} of {other.path}",
        f"{_short(expected)}, as in {first.path}",
        next_step,
    )


def first_difference(first: Json, other: Json, field: str = "") -> tuple[str, Json, Json] | None:
    """Return the first place at which two JSON values differ, as a dotted name, with both values there."""
    if isinstance(first, dict) and isinstance(other, dict):
        for name in sorted({*first, *other}):
            inner = f"{field}.{name}" if field else name
            if (name in first) != (name in other):
                return inner, first.get(name), other.get(name)
            difference = first_difference(first[name], other[name], inner)
            if difference is not None:
                return difference
        return None
    if isinstance(first, list) and isinstance(other, list) and len(first) == len(other):
        for number, (left, right) in enumerate(zip(first, other, strict=True)):
            difference = first_difference(left, right, f"{field}.{number}")
            if difference is not None:
                return difference
        return None
    is_same = type(first) is type(other) and first == other  # 1 and 1.0 are other bytes
    return None if is_same else (field, first, other)


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _missing_files(run: Run, record: Record) -> Iterator[Problem]:
    """Yield a problem for each file that a record refers to and the folder lacks or has changed."""
    next_step = "run the suite there again after deleting the record"
    for name in _files_of(record):
        if not (run.path / name).is_file():
            found = f"no {name} in {run.path}"
            yield Problem(found, "the file that its record names", next_step)
    samples = cast("Mapping[str, Json] | None", record.get("samples"))
    arrays = run.path / arrays_path(str(record["id"]))
    if samples and arrays.is_file() and files.file_sha256(arrays) != samples["sha256"]:
        yield Problem(f"changed content of {arrays}", "that which its record names", next_step)


def _files_of(record: Record) -> list[str]:
    """Return the files of a record, relative to the run folder, as its validation allows them."""
    named = cast("Mapping[str, str]", record.get("files") or {}).values()
    arrays = [arrays_path(str(record["id"]))] if record.get("samples") else []
    return [*named, *arrays]


def _write_union(runs: Sequence[Run], owners: Mapping[str, Sequence[Run]], part: Path) -> int:
    """Copy everything of the runs that stays; return the number of attempts."""
    part.mkdir(parents=True)
    for name in (Path("suite.yaml"), Path("plan.json")):
        _copy_file(runs[0], name, part / name)
    for id, (run, *_) in owners.items():
        record = Path("records") / id[:2] / f"{id}.json"
        for name in (record, *map(Path, _files_of(run.read_record(id)))):
            _copy_file(run, name, part / name)
    for folder in ("data", "environments", "challenges"):
        for run in runs:
            for path in _named_files(run, folder):
                if not (part / folder / path.name).exists():
                    _copy_file(run, Path(folder) / path.name, part / folder / path.name)
    _join_numbered(runs, "superseded", part)
    return _join_numbered(runs, "attempts", part)


def _named_files(run: Run, folder: str) -> list[Path]:
    """Return the files of a folder whose names are ids, sorted."""
    paths = sorted((run.path / folder).glob("*.json"))
    return [path_without_links(run.path, path) for path in paths if ID_PATTERN.fullmatch(path.stem)]


def _join_numbered(runs: Sequence[Run], folder: str, part: Path) -> int:
    """Copy ``<folder>/<id>/<n>`` of all runs with new numbers, the first run's first; return how many."""
    copied = 0
    for run in runs:
        for path in _numbered_paths(run, folder):
            target = part / folder / path.parent.name
            earlier = [*target.glob("*")] if target.is_dir() else []
            if any(_same_content(path, each) for each in earlier):
                continue
            _copy_tree(run, path, target / f"{len(earlier) + 1}{path.suffix}")
            copied += 1
    return copied


def _numbered_paths(run: Run, folder: str) -> list[Path]:
    numbered = [path for path in (run.path / folder).glob("*/*") if path.stem.isdecimal()]
    return sorted(numbered, key=lambda path: (path.parent.name, int(path.stem)))


def _same_content(path: Path, other: Path) -> bool:
    """Return whether two files, or two folders with a record, are copies of one another."""
    file, other_file = (each / "record.json" if each.is_dir() else each for each in (path, other))
    both = file.is_file() and other_file.is_file()
    return both and file.read_bytes() == other_file.read_bytes()


def _copy_tree(run: Run, path: Path, target: Path) -> None:
    for each in [path] if path.is_file() else sorted(path.rglob("*")):
        if each.is_file():
            _copy_file(run, each.relative_to(run.path), target / each.relative_to(path))


def _copy_file(run: Run, name: Path, target: Path) -> None:
    """Copy one file of a run, and no link that leads out of it."""
    try:
        source = path_without_links(run.path, run.path / name)
    except CacheError as error:
        raise BadInput([Problem(str(error), "no links in a run folder", "remove it")]) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _has_results(run: Run) -> bool:
    return any(record["kind"] == "result" for record in run.read_records())
