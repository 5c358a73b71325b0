"""Index of the valid records of a run folder, so that no command reads 100,000 files to count them.

``index.json`` in the run folder holds what most commands ask of each valid record, beside the state of its file:
size, times and inode. It is never the truth. A record whose file has another state is read and validated again, so is
one that had just been changed when it was read, and an index that is damaged, or that other code of this package
wrote, is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from advtransfer.errors import CacheError
from advtransfer.files import write_atomic
from advtransfer.host.own_code import own_code_digest
from advtransfer.result.battery_index import BATTERY_SIZE_NAMES, current_battery_id
from advtransfer.result.bounded_reading import read_bytes
from advtransfer.result.record import Record, battery_ids
from advtransfer.result.record_file import examine_record
from advtransfer.result.validation import battery_disagreement
from advtransfer.types import BatterySize

INDEX_NAME = "index.json"

WORTH_WRITING = 500
"""Number of records read for an index from which on it is written: fewer are soon read again."""

MTIME_GRANULARITY_NS = 2_000_000_000
"""The longest tick of a file system's clock; a file changed twice in one tick keeps its time."""

SHARD_NAME = re.compile(r"[0-9a-f]{2}")
HEX_DIGITS = frozenset("0123456789abcdef")

FileState: TypeAlias = str
"""Size, times and inode of a file, as text."""

UNSETTLED = " unsettled at "
"""What the state of a file that may change again and keep its size and times goes on with, before the time."""


@dataclass(slots=True)
class Shard:
    """One folder of ``records``: ids of its valid records, and faults of the others by file name.

    `listed_at` is the folder's time of change when it was listed, 0 where it has to be listed again.
    """

    listed_at: int = 0
    ids: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)


class RecordIndex:
    """The records of a run folder as they were at the last `refresh`.

    All mappings are by the ids of valid records.

    Attributes:
        states: State of the file when it was validated.
        codes: Digests of the code that made the record, by plugin, as JSON.
        batteries: Batteries that a result names; results without any are left out.
        current_batteries: Ids that a battery has today, in the order of `BATTERY_SIZE_NAMES`.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.states: dict[str, FileState] = {}
        self.codes: dict[str, str] = {}
        self.batteries: dict[str, list[str]] = {}
        self.current_batteries: dict[str, list[str]] = {}
        self._shards: dict[str, Shard] = {}
        self._read_count = 0
        self._load()

    def refresh(self) -> None:
        """Read the records whose files are new or have changed.

        A folder is listed again where a file came or went since the last time, and always the first
        time: a record that was changed in place is found by the next process.
        """
        root = self.run / "records"
        linked = root.is_symlink()
        folders = _shard_folders(root)
        examined: set[str] = set()
        for folder in folders.values():
            examined |= self._refresh_shard(folder, linked=linked or folder.is_symlink())
        for name in self._shards.keys() - folders.keys():
            self._forget(self._shards.pop(name).ids)
        self._refuse_disagreeing(examined)
        self._read_count += len(examined)
        if self._read_count >= WORTH_WRITING:
            self._write()

    def faults(self) -> dict[str, str]:
        """Return the faults of the other records, by their location in the run folder, sorted."""
        return {
            f"records/{name}/{file}": fault
            for name, shard in sorted(self._shards.items())
            for file, fault in sorted(shard.faults.items())
        }

    def describe_files(self) -> list[str]:
        """Return id and state of the file of each valid record, sorted."""
        return sorted(f"{id} {state.partition(UNSETTLED)[0]}" for id, state in self.states.items())

    def lacking_battery(self, size: BatterySize) -> set[str]:
        """Return the results with a battery that has no valid record of today's version and this size.

        Without batteries in this run, those that the results name are enough.
        """
        complete = set(self.current_batteries)
        if size != "none":
            place = BATTERY_SIZE_NAMES.index(size)
            complete = {id for id, ids in self.current_batteries.items() if ids[place] in complete}
        return {id for id, ids in self.batteries.items() if not complete.issuperset(ids)}

    def batteries_behind(self, results: Iterable[str]) -> set[str]:
        """Return the batteries with records behind results: those that they name, and those of today's version."""
        named = set().union(*[self.batteries[id] for id in results if id in self.batteries])
        named &= self.current_batteries.keys()
        todays = set().union(*[self.current_batteries[id] for id in named])
        return named | (todays & self.current_batteries.keys())

    def _refresh_shard(self, folder: os.DirEntry[str], *, linked: bool) -> set[str]:
        """Bring one folder up to date, and return the ids of the valid records that were read for it."""
        name = folder.name
        before = self._shards.get(name, Shard())
        changed_at = folder.stat(follow_symlinks=False).st_mtime_ns
        if changed_at == before.listed_at:
            return set()
        settled_before = time.time_ns() - MTIME_GRANULARITY_NS
        states = _record_states(folder.path, settled_before)
        kept = set() if linked else {id for id in states if states[id] == self.states.get(id)}
        shard = Shard(changed_at if changed_at < settled_before else 0, kept)
        examined: set[str] = set()
        for id in sorted(states.keys() - kept):
            state = states[id]
            record, fault = examine_record(Path(folder.path, f"{id}.json"), self.run)
            if record is not None and id[:2] == name:
                self._add(id, record, state)
                examined.add(id)
            else:
                expected = f"found a record in records/{name}; expected it in records/{id[:2]}"
                shard.faults[f"{id}.json"] = fault or expected
        shard.ids |= examined
        self._forget(before.ids - shard.ids)
        self._shards[name] = shard
        return examined

    def _add(self, id: str, record: Record, state: FileState) -> None:
        self._forget([id])
        observed = record["observed"]
        code = observed.get("code") if isinstance(observed, dict) else None
        self.states[id] = state
        self.codes[id] = json.dumps(code, sort_keys=True)
        if record["kind"] == "battery":
            self.current_batteries[id] = [
                current_battery_id(record, size) for size in BATTERY_SIZE_NAMES
            ]
        elif batteries := battery_ids(record):
            self.batteries[id] = batteries

    def _forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            for facts in (self.states, self.codes, self.batteries, self.current_batteries):
                facts.pop(id, None)

    def _refuse_disagreeing(self, examined: set[str]) -> None:
        """Turn results that contradict a battery into faults, where either of the two was just read."""
        results: Iterable[str] = examined & self.batteries.keys()
        if not examined.isdisjoint(self.current_batteries):
            results = self.batteries
        pairs: dict[str, list[str]] = {}
        for id in results:
            for battery in self.batteries[id]:
                if battery in self.states and (id in examined or battery in examined):
                    pairs.setdefault(battery, []).append(id)
        # By battery: each is read once, however many results name it.
        for battery, ids in pairs.items():
            battery_record = self._read(battery)
            for id in ids:
                result = self._read(id)
                if battery_record is None or result is None:  # Another process has set it aside.
                    continue
                if disagreement := battery_disagreement(result, battery_record):
                    shard = self._shards[id[:2]]
                    shard.ids.discard(id)
                    shard.faults[f"{id}.json"] = disagreement
                    self._forget([id])

    def _read(self, id: str) -> Record | None:
        return examine_record(self.run / "records" / id[:2] / f"{id}.json", self.run)[0]

    def _write(self) -> None:
        """Write the index, where the disk lets it; without it the records are read again."""
        self._read_count = 0
        groups: dict[str, dict[str, FileState]] = {}
        for id, state in self.states.items():
            if UNSETTLED not in state:
                groups.setdefault(self.codes[id], {})[id] = state
        batteries = {id: ids for id, ids in self.batteries.items() if id in self.states}
        value = [list(groups.items()), batteries, self.current_batteries]
        content = json.dumps(value, separators=(",", ":")).encode()
        with suppress(OSError):
            write_atomic(self.run / INDEX_NAME, _digest(content), b"\n", content)

    def _load(self) -> None:
        """Take what the index file says, unless it is absent, damaged, or of other code."""
        with suppress(CacheError, OSError, ValueError, TypeError, AttributeError, RecursionError):
            digest, _, content = read_bytes(self.run / INDEX_NAME).partition(b"\n")
            if digest != _digest(content):
                return
            groups, batteries, current_batteries = json.loads(content)
            states: dict[str, FileState] = {}
            codes: dict[str, str] = {}
            for code, group in groups:
                states |= group
                codes |= dict.fromkeys(group, code)
            # Nothing else stays once a file turns out to have changed.
            self.batteries = {id: batteries[id] for id in batteries.keys() & states.keys()}
            self.current_batteries = {
                id: current_batteries[id] for id in current_batteries.keys() & states.keys()
            }
            self.states, self.codes = states, codes
            for id in states:
                if id[:2] not in self._shards:
                    self._shards[id[:2]] = Shard()
                self._shards[id[:2]].ids.add(id)


def _shard_folders(root: Path) -> dict[str, os.DirEntry[str]]:
    """Return the folders of records by name, sorted; none where `root` cannot be read."""
    try:
        with os.scandir(root) as entries:
            folders = {entry.name: entry for entry in entries if SHARD_NAME.fullmatch(entry.name)}
    except OSError:
        return {}
    return dict(sorted(folders.items()))


def _record_states(folder: str, settled_before: int) -> dict[str, FileState]:
    """Return the state of each record's file in a folder, by the id in its name."""
    states: dict[str, FileState] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not name.endswith(".json") or name[0] not in HEX_DIGITS:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # It has just been set aside.
                continue
            changed_at, moved_at = status.st_mtime_ns, status.st_ctime_ns
            state = f"{status.st_size} {changed_at} {moved_at} {status.st_ino}"
            if changed_at >= settled_before or moved_at >= settled_before:
                # With the time of this look, so that no later look finds the same state.
                state += f"{UNSETTLED}{settled_before}"
            states[name[:-5]] = state
    return states


def _digest(content: bytes) -> bytes:
    """Return the digest of an index together with the code that decides what is in it."""
    return hashlib.sha256(own_code_digest() + content).hexdigest().encode()
