"""A run folder.

The suite as run, its plan, one file per finished record, attempts, and an event log.

    suite.yaml  plan.json  environments/<digest>.json  records/<id[:2]>/<id>.json  samples/<id[:2]>/<id>.safetensors
    files/<id>/  attempts/<id>/<n>.json  data/<data id>.json  events.jsonl  leaderboard.md  *.svg
    superseded/<id>/<n>/ records made with an earlier version of a plugin's code, moved out of the way

A record file exists only when the record is complete: written to a temporary name, flushed, renamed. Records are
never changed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import write_atomic
from advtransfer.node import content_id
from advtransfer.result.record import Record, battery_ids
from advtransfer.result.validation import (
    ID_PATTERN,
    battery_disagreement,
    path_without_links,
    plan_fault,
    record_fault,
)
from advtransfer.types import Json


class Run:
    """One run folder, for writing by workers and reading by everybody."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run.

        Raises:
            BadInput: The folder holds no plan.
        """
        path_without_links(path, path / "plan.json")
        if not (path / "plan.json").is_file():
            problem = Problem(
                f"no plan.json in {str(path)!r}",
                "the folder of a run, such as runs/quickstart",
                "run the suite first, or give the folder that `advtransfer run` printed",
            )
            raise BadInput([problem])
        return cls(path)

    # --- records ---

    def has_record(self, id: str) -> bool:
        """Whether this record is done."""
        return self._record_path(id).is_file()

    def is_complete(self, id: str) -> bool:
        """Whether this record is done, and those of the batteries that stand behind it."""
        return self.has_record(id) and all(map(self.has_record, battery_ids(self.read_record(id))))

    def finished_ids(self) -> set[str]:
        """The ids of every finished record that agrees with itself."""
        return {path.stem for path in self._record_files() if _file_fault(path, self.path) is None}

    def read_record(self, id: str) -> Record:
        """One record, as it lies on disk.

        Raises:
            CacheError: It does not agree with itself, or cannot be read.
        """
        path = self._record_path(id)
        if path.exists() and (wrong := _file_fault(path, self.path)):
            raise CacheError(f"{path}: {wrong}; delete it and run again")
        return load_json_object(path)

    def read_records(self) -> Iterator[Record]:
        """Every record that agrees with itself and its battery: of a run in the order of their ids, or of a bundle.

        The others are left out; `damaged` names them.
        """
        yield from (
            record
            for _, record, wrong in self._examined_records()
            if record is not None and wrong is None
        )

    def damaged_records(self) -> dict[str, str]:
        """Records that do not agree with themselves, or with their batteries: where each lies, and what is wrong."""
        return {place: wrong for place, _, wrong in self._examined_records() if wrong is not None}

    def _examined_records(self) -> Iterator[tuple[str, Record | None, str | None]]:
        """Where each record lies, the record, and what is wrong with it."""
        batteries = {
            record["id"]: record
            for _, record, _ in self._validated_records()
            if record and record["kind"] == "battery"
        }
        for place, record, wrong in self._validated_records():
            named = (
                [batteries[id] for id in battery_ids(record) if id in batteries] if record else []
            )
            told = (
                found
                for battery in named
                if record and (found := battery_disagreement(record, battery))
            )
            yield place, record, wrong or next(told, None)

    def _validated_records(self) -> Iterator[tuple[str, Record | None, str | None]]:
        """The same, each looked at by itself; no record where that finds something wrong."""
        for path in self._record_files():
            wrong = _file_fault(path, self.path)
            yield self._relative_path(path), None if wrong else load_json_object(path), wrong
        for path in sorted((self.path / "records").glob("*.jsonl")):
            for number, record in _numbered_lines(path_without_links(self.path, path)):
                wrong = record_fault(record)
                yield f"{self._relative_path(path)}:{number}", None if wrong else record, wrong

    def set_aside_damaged(self) -> dict[str, str]:
        """Rename damaged records so that they count as missing, and keep them; gives what `damaged` gave."""
        damaged = self.damaged_records()
        for place in damaged:
            path = self.path / place
            if path.suffix == ".json":
                others = len(list(path.parent.glob(f"{path.name}.refused*")))
                path.rename(path.with_name(f"{path.name}.refused{others or ''}"))
        return damaged

    def _relative_path(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def write_record(self, record: Record) -> None:
        """Put a finished record on disk; from here on it exists."""
        write_atomic(self._record_path(str(record["id"])), record_bytes(record))

    def supersede_record(self, id: str) -> None:
        """Move a record, its arrays, its files and its attempts into ``superseded/<id>/<n>/``; nothing shows it there.

        The record goes first: from then on it is to be made again, and what is left beside it is overwritten.
        """
        to = self.path / "superseded" / id
        to = to / str(1 + sum(1 for _ in to.glob("*")))
        to.mkdir(parents=True, exist_ok=True)
        for path, name in (
            (self._record_path(id), "record.json"),
            (self.path / "samples" / id[:2] / f"{id}.safetensors", "samples.safetensors"),
            (self.path / "files" / id, "files"),
            (self.path / "attempts" / id, "attempts"),
        ):
            with contextlib.suppress(
                FileNotFoundError
            ):  # it has none, or another driver has just moved it
                path.rename(to / name)

    # --- attempts ---

    def latest_attempts(self) -> dict[str, Record]:
        """The latest attempt of each node that has one and no record: what failed or was skipped, and why.

        An attempt that cannot be read counts as none; `damaged_attempts` names it.
        """
        latest = {str(one["id"]): one for one in self._bundled_attempts() if _is_attempt(one)}
        for folder in sorted((self.path / "attempts").glob("*")):
            if not self.has_record(folder.name) and (found := self.latest_attempt(folder.name)):
                latest[folder.name] = found
        return latest

    def latest_attempt(self, id: str) -> Record | None:
        """The latest attempt of a node that can be read."""
        return next(
            (found for path in reversed(self._attempt_files(id)) if (found := _load_attempt(path))),
            None,
        )

    def damaged_attempts(self) -> list[Path]:
        """The attempts that cannot be read; nothing but the reason of an old failure is lost with one."""
        folders = sorted((self.path / "attempts").glob("*"))
        return [
            path
            for folder in folders
            for path in self._attempt_files(folder.name)
            if _load_attempt(path) is None
        ]

    def attempt_count(self, id: str) -> int:
        """How often this node was tried without ending in a record."""
        return max((int(path.stem) for path in self._attempt_files(id)), default=0)

    def write_attempt(self, record: Record) -> None:
        """Add an attempt beside the earlier ones."""
        folder = self.path / "attempts" / str(record["id"])
        write_atomic(folder / f"{self.attempt_count(folder.name) + 1}.json", record_bytes(record))

    # --- what the records refer to ---

    def write_suite(self, source: str) -> None:
        """Keep the suite as it was run."""
        write_atomic(self.path / "suite.yaml", source.encode("utf-8", "backslashreplace"))

    def write_plan(self, plan: Mapping[str, Json]) -> None:
        """Keep the plan: which labels ask for which ids."""
        write_atomic(self.path / "plan.json", record_bytes(plan))

    def read_plan(self) -> Record:
        """The plan as last run.

        Raises:
            CacheError: It cannot be read, or is no plan.
        """
        path = path_without_links(self.path, self.path / "plan.json")
        plan = load_json_object(path)
        if wrong := plan_fault(plan):
            raise CacheError(f"{path}: {wrong}; delete it and run again")
        return plan

    def write_environment(self, environment: Mapping[str, Json]) -> str:
        """Keep an environment once; gives its digest, which records hold."""
        name = content_id(environment)
        path = self.path / "environments" / f"{name}.json"
        if not path.exists():
            write_atomic(path, record_bytes(environment))
        return name

    def read_environments(self) -> dict[str, Record]:
        """The environments of this run, by digest."""
        paths = sorted((self.path / "environments").glob("*.json"))
        return {
            path.stem: load_json_object(path_without_links(self.path, path))
            for path in paths
            if ID_PATTERN.fullmatch(path.stem)
        }

    def pin_data(self, data: str, content: str) -> None:
        """Hold a data set to the content digest that this run first saw under its id.

        Raises:
            CacheError: The content differs from the first; names both digests.
        """
        path = self.path / "data" / f"{data}.json"
        if not path.exists():
            write_atomic(path, record_bytes({"data": data, "content": content}))
        first = load_json_object(path).get("content")
        if not isinstance(first, str):
            raise CacheError(
                f"{path} does not say which content this run began with; delete it and run again"
            )
        if first != content:
            raise CacheError(
                f"data set {data[:12]} has content {content[:12]}..., but this run began with {str(first)[:12]}...; "
                "restore the data, or start a new run folder with --runs"
            )

    def unpin_data(self, data: str) -> None:
        """Forget the content of a data set: the code that reads it has changed."""
        (self.path / "data" / f"{data}.json").unlink(missing_ok=True)

    def _attempt_files(self, id: str) -> list[Path]:
        """The files of a node's attempts, the latest last."""
        found = [
            path for path in (self.path / "attempts" / id).glob("*.json") if path.stem.isdecimal()
        ]
        return sorted(found, key=lambda path: int(path.stem))

    def _bundled_attempts(self) -> Iterator[Record]:
        path = path_without_links(self.path, self.path / "attempts.jsonl")
        yield from (one for _, one in _numbered_lines(path)) if path.exists() else ()

    def _record_path(self, id: str) -> Path:
        return self.path / "records" / id[:2] / f"{id}.json"

    def _record_files(self) -> list[Path]:
        return sorted((self.path / "records").glob("[0-9a-f][0-9a-f]/[0-9a-f]*.json"))


def _numbered_lines(path: Path) -> Iterator[tuple[int, Record]]:
    """The numbers of a file's lines, and what stands in them; None where that is not JSON."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, cast(Record, None)


def _file_fault(path: Path, run: Path) -> str | None:
    """What is wrong with the record in a file; looked at again only when the file has changed."""
    try:
        path_without_links(run, path)
        state = path.stat()
    except (CacheError, OSError) as error:
        return f"found a file that cannot be read ({error}); expected a record"
    return _cached_file_fault(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=100_000)
def _cached_file_fault(path: Path, *state: int) -> str | None:
    try:
        record = load_json_object(path)
    except CacheError as error:
        return f"found what is no record ({error}); expected one"
    return record_fault(record, id=path.stem)


def record_bytes(value: Mapping[str, Json]) -> bytes:
    """A record as it is written: sorted keys, one value a line, no NaN; halves of characters stand as JSON escapes."""
    written = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return f"{written}\n".encode("utf-8", "backslashreplace")


def load_json_object(path: Path) -> Record:
    """A record from its file.

    Raises:
        CacheError: The file cannot be read, or is not a JSON object.
    """
    try:
        value: Any = json.loads(path.read_text("utf-8"))  # Any: JSON, checked on the next line
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{path} is not JSON ({error}); delete it and run again") from error
    except OSError as error:
        raise CacheError(
            f"{path} cannot be read ({error.strerror}); delete it and run again"
        ) from error
    if not isinstance(value, dict):
        raise CacheError(
            f"{path} holds {type(value).__name__}, expected a JSON object; delete it and run again"
        )
    return cast(Record, value)


def _load_attempt(path: Path) -> Record | None:
    """An attempt from its file; None when it cannot be read."""
    try:
        found = load_json_object(path)
    except CacheError:
        return None
    return found if _is_attempt(found) else None


def _is_attempt(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and isinstance(value.get("reason"), str)
    )
