"""A run folder: the suite as run, its plan, one file per finished record, attempts, and an event log.

    suite.yaml  plan.json  environments/<digest>.json  records/<id[:2]>/<id>.json  samples/<id[:2]>/<id>.safetensors
    files/<id>/  attempts/<id>/<n>.json  data/<data id>.json  events.jsonl  leaderboard.md  *.svg
    claims/ of the jobs, and of the drivers, that are at work
    superseded/<id>/<n>/ records made with an earlier version of a plugin's code

A record file exists only when the record is complete, since it is written to a temporary name and renamed.
Records are never changed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from advtransfer.cache.lock import HeldLock
from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import UNGUARDED, write_atomic
from advtransfer.node import content_id
from advtransfer.result.battery_index import BATTERY_SIZE_NAMES, current_battery_id
from advtransfer.result.bounded_reading import iter_json_lines
from advtransfer.result.plan_validation import plan_fault
from advtransfer.result.record import Record, arrays_path, battery_ids
from advtransfer.result.record_file import file_fault, load_json_object
from advtransfer.result.record_index import RecordIndex
from advtransfer.result.record_lines import plan_files, record_files
from advtransfer.result.validation import (
    ID_PATTERN,
    battery_disagreement,
    path_without_links,
    record_fault,
)
from advtransfer.types import BatterySize, Json


class Run:
    """One run folder; workers write to it, any process may read it."""

    def __init__(self, path: Path, claim: HeldLock | None = None) -> None:
        """Store the path, and the claim of the job that this process works on, if it does."""
        self.path = path
        self._claim = claim
        self._index: RecordIndex | None = None

    @classmethod
    def open(cls, path: Path) -> Run:
        """Return the run in an existing folder.

        Raises:
            BadInput: The folder has no plan.
        """
        path_without_links(path, path / "plan.json")
        if not (path / "plan.json").is_file() and not plan_files(path):
            problem = Problem(
                f"no plan.json in {str(path)!r}",
                "the folder of a run, such as runs/quickstart",
                "run the suite first, or give the folder that `advtransfer run` printed",
            )
            raise BadInput([problem])
        return cls(path)

    # --- records ---

    def has_record(self, id: str) -> bool:
        """Return whether the record of a node exists."""
        return self._record_path(id).is_file()

    def is_complete(self, id: str, battery: BatterySize) -> bool:
        """Return whether a record exists, and its batteries of today's version and this size."""
        return self.has_record(id) and not self.lacks_battery(self.read_record(id), battery)

    def lacks_battery(self, record: Record, size: BatterySize) -> bool:
        """Return whether a battery behind a result has no record of today's version and this size.

        Without batteries in this run, those that the result names are enough.
        """
        ids = battery_ids(record)
        if not all(map(self.has_record, ids)):
            return True
        if size == "none":
            return False
        return not all(
            self.has_record(current_battery_id(self.read_record(id), size)) for id in ids
        )

    def batteries_behind(self, record: Record) -> list[str]:
        """Return the ids of the battery records behind a result.

        These are the ones that it names, and those of today's version in the same balls.
        """
        named = [id for id in battery_ids(record) if self.has_record(id)]
        todays = [
            current_battery_id(self.read_record(id), size)
            for id in named
            for size in BATTERY_SIZE_NAMES
        ]
        return list(dict.fromkeys([*named, *filter(self.has_record, todays)]))

    def find_batteries(self, results: Iterable[Record]) -> list[Record]:
        """Return the valid battery records behind some results."""
        ids = {id for result in results for id in self.batteries_behind(result)}
        paths = [self._record_path(id) for id in sorted(ids) if self.has_record(id)]
        return [load_json_object(path) for path in paths if file_fault(path, self.path) is None]

    def index(self) -> RecordIndex:
        """Return what the records of this run say, brought up to date."""
        if self._index is None:
            self._index = RecordIndex(self.path)
        self._index.refresh()
        return self._index

    def finished_ids(self) -> set[str]:
        """Return the ids of all valid records."""
        return set(self.index().states)

    def read_record(self, id: str) -> Record:
        """Return one record.

        Raises:
            CacheError: The record is not valid, or cannot be read.
        """
        path = self._record_path(id)
        if path.exists() and (fault := file_fault(path, self.path)):
            raise CacheError(f"{path}: {fault}; delete it and run again")
        return load_json_object(path)

    def find_record(self, id: str) -> Record | None:
        """Return the valid record of a node, of a run or of a bundle; None without one.

        Raises:
            CacheError: The record of a run is not valid, or cannot be read.
        """
        if self.has_record(id):
            return self.read_record(id)
        records = (record for _, record, fault in self._examined_bundle() if fault is None)
        return next((record for record in records if record and record["id"] == id), None)

    def read_records(self) -> Iterator[Record]:
        """Yield the valid records of a run (in the order of their ids) or of a bundle.

        `damaged_records` returns the others.
        """
        for id in sorted(self.finished_ids()):
            yield load_json_object(self._record_path(id))
        for _, record, fault in self._examined_bundle():
            if record is not None and fault is None:
                yield record

    def damaged_records(self) -> dict[str, str]:
        """Return the faults of records that are not valid or contradict their batteries, by location."""
        bundled = {location: fault for location, _, fault in self._examined_bundle() if fault}
        return self.index().faults() | bundled

    def _examined_bundle(self) -> Iterator[tuple[str, Record | None, str | None]]:
        """Yield location, record and fault of each record of a bundle, with contradictions of its batteries."""
        # A first pass collects the batteries: a result may come before its battery.
        faults: dict[str, str | None] = {}
        batteries = {
            record["id"]: record
            for _, record, _ in self._validated_bundle(faults)
            if record and record["kind"] == "battery"
        }
        for location, record, fault in self._validated_bundle(faults):
            disagreements: list[str | None] = []
            if record is not None:
                own_batteries = [batteries[id] for id in battery_ids(record) if id in batteries]
                disagreements = [battery_disagreement(record, each) for each in own_batteries]
            yield location, record, fault or next(filter(None, disagreements), None)

    def _validated_bundle(
        self, faults: dict[str, str | None]
    ) -> Iterator[tuple[str, Record | None, str | None]]:
        """Yield location, record and fault of each record by itself; None for a record with a fault.

        Args:
            faults: Faults by location, to which those of other records are added: to validate a
                record takes longer than to read it a second time.
        """
        for location, record in self.bundled_records():
            if location not in faults:
                faults[location] = record_fault(record)
            fault = faults[location]
            yield location, None if fault else record, fault

    def bundled_records(self) -> Iterator[tuple[str, Record]]:
        """Yield location and content of each record of a bundle, as it is, without validation."""
        for path in record_files(self.path):
            for number, record in iter_json_lines(path_without_links(self.path, path)):
                yield f"{self._relative_path(path)}:{number}", record

    def set_aside_damaged(self) -> dict[str, str]:
        """Rename damaged records, so that they count as missing; return `damaged_records`."""
        damaged = self.damaged_records()
        for location in damaged:
            path = self.path / location
            if path.suffix == ".json":
                others = len(list(path.parent.glob(f"{path.name}.refused*")))
                path.rename(path.with_name(f"{path.name}.refused{others or ''}"))
        return damaged

    def _relative_path(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def publish(self, path: Path, *chunks: bytes) -> None:
        """Write a file of a job, durably and at once, while the job's claim is held.

        Raises:
            ClaimLost: Another process has taken over the claim of this job; nothing is written.
        """
        guard = UNGUARDED if self._claim is None else self._claim.guard()
        write_atomic(path, *chunks, guard=guard)

    def write_record(self, record: Record) -> None:
        """Write a finished record."""
        self.publish(self._record_path(str(record["id"])), record_bytes(record))

    def supersede_record(self, id: str) -> None:
        """Move a record, its arrays, files and attempts into ``superseded/<id>/<n>/``, where nothing reads it."""
        superseded = self.path / "superseded" / id
        to = superseded / str(1 + len(list(superseded.glob("*"))))
        to.mkdir(parents=True, exist_ok=True)
        # The record is moved first: once it is gone the node is built again, which overwrites the rest.
        for path, name in (
            (self._record_path(id), "record.json"),
            (self.path / arrays_path(id), "samples.safetensors"),
            (self.path / "files" / id, "files"),
            (self.path / "attempts" / id, "attempts"),
        ):
            # It may have none, or another process has just moved it.
            with contextlib.suppress(FileNotFoundError):
                path.rename(to / name)

    # --- attempts ---

    def latest_attempts(self) -> dict[str, Record]:
        """Return the latest attempt of each node without a record, by id.

        Attempts that cannot be read are left out; `damaged_attempts` returns them.
        """
        bundled = filter(_is_attempt, self._bundled_attempts())
        latest = {str(attempt["id"]): attempt for attempt in bundled}
        for folder in sorted((self.path / "attempts").glob("*")):
            if self.has_record(folder.name):
                continue
            if attempt := self.latest_attempt(folder.name):
                latest[folder.name] = attempt
        return latest

    def latest_attempt(self, id: str) -> Record | None:
        """Return the latest readable attempt of a node, or None."""
        attempts = map(_load_attempt, reversed(self._attempt_files(id)))
        return next(filter(None, attempts), None)

    def damaged_attempts(self) -> list[Path]:
        """Return the files of attempts that cannot be read; each loses only the reason of a failure."""
        damaged: list[Path] = []
        for folder in sorted((self.path / "attempts").glob("*")):
            paths = self._attempt_files(folder.name)
            damaged += [path for path in paths if _load_attempt(path) is None]
        return damaged

    def attempt_count(self, id: str) -> int:
        """Return the number of attempts of a node that did not end in a record."""
        return max((int(path.stem) for path in self._attempt_files(id)), default=0)

    def attempt_counts(self) -> dict[str, int]:
        """Return the number of attempts of every node that has any, by id."""
        folders = (self.path / "attempts").glob("*")
        return {folder.name: self.attempt_count(folder.name) for folder in folders}

    def write_attempt(self, record: Record) -> None:
        """Write an attempt beside the earlier ones."""
        folder = self.path / "attempts" / str(record["id"])
        self.publish(folder / f"{self.attempt_count(folder.name) + 1}.json", record_bytes(record))

    # --- what the records refer to ---

    def write_suite(self, source: str) -> None:
        """Write the suite as it is run."""
        write_atomic(self.path / "suite.yaml", source.encode("utf-8", "backslashreplace"))

    def has_plan(self, plan: Mapping[str, Json]) -> bool:
        """Return whether ``plan.json`` holds this very plan; to write a large one takes longer than to read it."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return bool(json.loads((self.path / "plan.json").read_bytes()) == plan)
        return False

    def write_plan(self, plan: Mapping[str, Json]) -> None:
        """Write the plan, which maps labels to ids."""
        write_atomic(self.path / "plan.json", record_bytes(plan))

    def read_plan(self) -> Record:
        """Return the plan of the last run.

        Raises:
            CacheError: The plan cannot be read, or is not valid.
        """
        path = path_without_links(self.path, self.path / "plan.json")
        parts = [] if path.exists() else plan_files(self.path)
        plan = self._join_plan(parts) if parts else load_json_object(path)
        if fault := plan_fault(plan):
            raise CacheError(f"{path}: {fault}; delete it and run again")
        return plan

    def _join_plan(self, parts: Iterable[Path]) -> Record:
        """Return the plan of a bundle that is spread over several files (see `plan_files`)."""
        lines: list[Json] = []
        for part in parts:
            lines += [line for _, line in iter_json_lines(path_without_links(self.path, part))]
        head, *trials = lines or [None]
        if not isinstance(head, dict):
            raise CacheError(f"{self.path} has plan files without a plan; expected it in the first")
        return {**head, "trials": trials}

    def write_environment(self, environment: Mapping[str, Json]) -> str:
        """Write an environment, unless it is there; return its digest, which records hold."""
        digest = content_id(environment)
        path = self.path / "environments" / f"{digest}.json"
        content = record_bytes(environment)
        if not path.is_file() or path.read_bytes() != content:
            write_atomic(path, content)
        return digest

    def read_environments(self) -> dict[str, Record]:
        """Return the environments of this run, by digest."""
        paths = sorted((self.path / "environments").glob("*.json"))
        return {
            path.stem: load_json_object(path_without_links(self.path, path))
            for path in paths
            if ID_PATTERN.fullmatch(path.stem)
        }

    def pin_data(self, data: str, content: str) -> None:
        """Require the content digest of a data set to be the first one that this run saw.

        Raises:
            CacheError: The digests differ; names both.
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
        """Forget the content digest of a data set, since the code that reads it has changed."""
        (self.path / "data" / f"{data}.json").unlink(missing_ok=True)

    def _attempt_files(self, id: str) -> list[Path]:
        """Return the files of a node's attempts, the latest last."""
        files = (self.path / "attempts" / id).glob("*.json")
        numbered = [path for path in files if path.stem.isdecimal()]
        return sorted(numbered, key=lambda path: int(path.stem))

    def _bundled_attempts(self) -> Iterator[Record]:
        path = path_without_links(self.path, self.path / "attempts.jsonl")
        if path.exists():
            for _, attempt in iter_json_lines(path):
                yield attempt

    def _record_path(self, id: str) -> Path:
        return self.path / "records" / id[:2] / f"{id}.json"


def record_bytes(value: Mapping[str, Json]) -> bytes:
    """Return a record as JSON with sorted keys, one value per line, no NaN, lone surrogates escaped."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _load_attempt(path: Path) -> Record | None:
    """Return the attempt in a file; None where it cannot be read."""
    try:
        attempt = load_json_object(path)
    except CacheError:
        return None
    return attempt if _is_attempt(attempt) else None


def _is_attempt(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and isinstance(value.get("reason"), str)
    )
