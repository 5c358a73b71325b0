"""A run folder: the suite as run, its plan, one file per finished record, attempts beside them, an event log.

    suite.yaml  plan.json  environments/<digest>.json  records/<id[:2]>/<id>.json  samples/<id[:2]>/<id>.safetensors
    files/<id>/  attempts/<id>/<n>.json  data/<data id>.json  events.jsonl  leaderboard.md  *.svg

A record exists only when done: written beside, flushed, renamed. Nothing recorded is ever changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import write_whole
from advtransfer.node import canonical, digest
from advtransfer.result.record import Record, batteries_of
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
        if not (path / "plan.json").is_file():
            problem = Problem(
                f"no plan.json in {str(path)!r}",
                "the folder of a run, such as runs/quickstart",
                "run the suite first, or give the folder that `advtransfer run` printed",
            )
            raise BadInput([problem])
        return cls(path)

    # --- records ---

    def has(self, id: str) -> bool:
        """Whether this record is done."""
        return self._record(id).is_file()

    def is_whole(self, id: str) -> bool:
        """Whether this record is done, and those of the batteries that stand behind it."""
        return self.has(id) and all(map(self.has, batteries_of(self.read(id))))

    def done(self) -> set[str]:
        """The ids of every finished record."""
        return {path.stem for path in self._record_files()}

    def read(self, id: str) -> Record:
        """One record, as it lies on disk."""
        return _record(self._record(id))

    def records(self) -> Iterator[Record]:
        """Every record, one at a time: of a run in the order of their ids, of a bundle as its lines stand."""
        yield from map(_record, self._record_files())
        for path in sorted((self.path / "records").glob("*.jsonl")):
            yield from _lines(path)

    def write(self, record: Record) -> None:
        """Put a finished record on disk; from here on it exists."""
        write_whole(self._record(str(record["id"])), text(record))

    # --- attempts ---

    def attempts(self) -> dict[str, Record]:
        """The latest attempt of each node that has one and no record: what failed or was skipped, and why.

        An attempt that cannot be read counts as none; `damaged_attempts` names it.
        """
        bundled = self.path / "attempts.jsonl"
        latest = {str(one["id"]): one for one in (_lines(bundled) if bundled.exists() else ()) if _is_attempt(one)}
        for folder in sorted((self.path / "attempts").glob("*")):
            if not self.has(folder.name) and (found := self.attempt(folder.name)):
                latest[folder.name] = found
        return latest

    def attempt(self, id: str) -> Record | None:
        """The latest attempt of a node that can be read."""
        return next((found for path in reversed(self._attempts(id)) if (found := _attempt(path))), None)

    def damaged_attempts(self) -> list[Path]:
        """The attempts that cannot be read; nothing but the reason of an old failure is lost with one."""
        folders = sorted((self.path / "attempts").glob("*"))
        return [path for folder in folders for path in self._attempts(folder.name) if _attempt(path) is None]

    def attempted(self, id: str) -> int:
        """How often this node was tried without ending in a record."""
        return max((int(path.stem) for path in self._attempts(id)), default=0)

    def write_attempt(self, record: Record) -> None:
        """Add an attempt beside the earlier ones."""
        folder = self.path / "attempts" / str(record["id"])
        write_whole(folder / f"{self.attempted(folder.name) + 1}.json", text(record))

    # --- what the records refer to ---

    def write_suite(self, source: str) -> None:
        """Keep the suite as it was run."""
        write_whole(self.path / "suite.yaml", source.encode("utf-8", "backslashreplace"))

    def write_plan(self, plan: Mapping[str, Json]) -> None:
        """Keep the plan: which labels ask for which ids."""
        write_whole(self.path / "plan.json", text(plan))

    def plan(self) -> Record:
        """The plan as last run."""
        return load(self.path / "plan.json")

    def write_environment(self, environment: Mapping[str, Json]) -> str:
        """Keep an environment once; gives its digest, which records hold."""
        name = digest(canonical(environment))
        path = self.path / "environments" / f"{name}.json"
        if not path.exists():
            write_whole(path, text(environment))
        return name

    def environments(self) -> dict[str, Record]:
        """The environments of this run, by digest."""
        return {path.stem: load(path) for path in sorted((self.path / "environments").glob("*.json"))}

    def pin(self, data: str, content: str) -> None:
        """Hold a data set to the content digest that this run first saw under its id.

        Raises:
            CacheError: The content differs from the first; names both digests.
        """
        path = self.path / "data" / f"{data}.json"
        if not path.exists():
            write_whole(path, text({"data": data, "content": content}))
        first = load(path).get("content")
        if not isinstance(first, str):
            raise CacheError(f"{path} does not say which content this run began with; delete it and run again")
        if first != content:
            raise CacheError(
                f"data set {data[:12]} has content {content[:12]}..., but this run began with {str(first)[:12]}...; "
                "restore the data, or start a new run folder with --runs"
            )

    def _attempts(self, id: str) -> list[Path]:
        """The files of a node's attempts, the latest last."""
        found = [path for path in (self.path / "attempts" / id).glob("*.json") if path.stem.isdecimal()]
        return sorted(found, key=lambda path: int(path.stem))

    def _record(self, id: str) -> Path:
        return self.path / "records" / id[:2] / f"{id}.json"

    def _record_files(self) -> list[Path]:
        return sorted((self.path / "records").glob("[0-9a-f][0-9a-f]/[0-9a-f]*.json"))


def _lines(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def text(value: Mapping[str, Json]) -> bytes:
    """A record as it is written: sorted keys, one value a line, no NaN; halves of characters stand as JSON escapes."""
    written = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return f"{written}\n".encode("utf-8", "backslashreplace")


def load(path: Path) -> Record:
    """A record from its file.

    Raises:
        CacheError: The file cannot be read, or is not a JSON object.
    """
    try:
        value: Any = json.loads(path.read_text("utf-8"))  # Any: JSON, checked on the next line
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{path} is not JSON ({error}); delete it and run again") from error
    except OSError as error:
        raise CacheError(f"{path} cannot be read ({error.strerror}); delete it and run again") from error
    if not isinstance(value, dict):
        raise CacheError(f"{path} holds {type(value).__name__}, expected a JSON object; delete it and run again")
    return cast(Record, value)


def _record(path: Path) -> Record:
    """A record from its file.

    Raises:
        CacheError: It cannot be read, or is not the record of this name.
    """
    found = load(path)
    if found.get("id") != path.stem:
        raise CacheError(f"{path} is not the record that its name says; delete it and run again")
    return found


def _attempt(path: Path) -> Record | None:
    """An attempt from its file; None when it cannot be read."""
    try:
        found = load(path)
    except CacheError:
        return None
    return found if _is_attempt(found) else None


def _is_attempt(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str) and isinstance(value.get("reason"), str)
