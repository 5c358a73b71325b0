"""The cache as one object.

Artifacts, rows, locks, checkpoints, and the run folders known on this machine.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from advtransfer import files
from advtransfer.cache import artifact, lock, maintenance
from advtransfer.cache.artifact import META_FILE, Artifact, CorruptEntry, explain_write_errors
from advtransfer.cache.lock import NodeLock
from advtransfer.cache.maintenance import CacheEntry, PruneResult, VerifiedEntry
from advtransfer.cache.rows import RowFile
from advtransfer.errors import Busy, CacheError
from advtransfer.files import file_sha256, sync_folder
from advtransfer.node import text_sha256
from advtransfer.types import Json, Tensors

runs_logger = logging.getLogger(__name__)


def write_run_note(folder: Path, run: Path) -> None:
    """Note a run folder; noting it again changes nothing."""
    text = str(run.resolve())
    file = folder / f"{text_sha256(text)[:32]}.json"
    if _noted_path(file) != Path(text):
        files.write_atomic(file, json.dumps({"path": text}).encode())


def read_run_notes(folder: Path) -> list[Path]:
    """The noted run folders that still exist, sorted; a note that cannot be read is told and left out."""
    found: set[Path] = set()
    for file in sorted(folder.glob("[!.]*.json")):
        path = _noted_path(file)
        if path is None:
            runs_logger.warning("%s does not name a run folder and is not used; delete it", file)
        elif _is_readable_folder(path):
            found.add(path)
    return sorted(found)


def _noted_path(file: Path) -> Path | None:
    """The folder that a note names; None where it names none, or is not there."""
    try:
        return Path(json.loads(file.read_text(encoding="utf-8"))["path"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_readable_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no permission to look; a name that no file can have
        return False


logger = logging.getLogger(__name__)


class Cache:
    """Artifacts by content id, shared by every worker on this file system.

    Args:
        root: The cache's folder; made when needed.
        line: Device type, threads and precision (``cpu-1-float32``); part of every address.
        max_bytes: Above this size each `put` evicts what was not used for longest; None for no limit.
        below: Another cache's folder that is only read, for what is not in this one.
    """

    def __init__(
        self, root: Path, *, line: str, max_bytes: int | None = None, below: Path | None = None
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", line):
            raise ValueError(
                f"found the line {line!r}; expected letters, digits, '.', '_' and '-', as in 'cpu-1-float32'"
            )
        self.root, self.environment_key, self.max_bytes, self.below = root, line, max_bytes, below

    def get(self, id: str) -> Artifact | None:
        """The artifact, its content hashed; None when there is none or when it is corrupt (then it is set aside)."""
        folder = self._node_path("artifacts", id)
        found = artifact.read_folder(folder, id=id, line=self.environment_key)
        if isinstance(found, CorruptEntry):
            self._set_aside(folder, found)
            return None
        if found is not None:
            with suppress(OSError):  # a shared cache that one may only read still serves
                os.utime(folder / META_FILE)
        elif self.below is not None:
            lower = artifact.read_folder(
                self._node_path("artifacts", id, root=self.below), id=id, line=self.environment_key
            )
            return lower if isinstance(lower, Artifact) else None
        return found

    def unwritable_reason(self) -> str | None:
        """Why nothing can be kept here; None when it can."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = files.temporary_path(self.root / "probe")
            probe.touch()
            probe.unlink()
        except OSError as error:
            return error.strerror or str(error)
        leases, kept = (
            self.root / "leases" / self.environment_key,
            self.root / "artifacts" / self.environment_key,
        )
        places = [
            leases,
            leases / ".guard",
            kept,
            *kept.glob("*"),
            self.root / "saved" / self.environment_key,
        ]
        refused = [place for place in places if place.exists() and not os.access(place, os.W_OK)]
        return f"no permission to write {refused[0].relative_to(self.root)}" if refused else None

    def put(
        self, id: str, tensors: Tensors, facts: Mapping[str, Json], *, kind: str = "", use: str = ""
    ) -> Artifact:
        """Keep tensors and facts under an id, and drop its checkpoint.

        An intact artifact that is already there stays, since records may hold its digest; it is what you get back.

        Args:
            id: The node's id.
            tensors: By name; brought to the CPU.
            facts: JSON without NaN; read back exactly.
            kind: The node's kind, for `entries`.
            use: The component that built it, ``plugin/factory``, for `entries`.

        Raises:
            CacheError: It could not be written, or not be read back.
        """
        folder = self._node_path("artifacts", id)
        with explain_write_errors(folder):
            beside = files.temporary_path(folder)
        try:
            with explain_write_errors(folder):
                beside.mkdir()
                artifact.write_folder(
                    beside,
                    id=id,
                    line=self.environment_key,
                    tensors=tensors,
                    facts=facts,
                    kind=kind,
                    use=use,
                )
            kept = self._publish_folder(beside, folder)
        finally:
            files.delete_if_present(beside)
        self.delete_checkpoint(id)
        self.make_room(keep=folder)
        return kept

    def rows(self, id: str, *, kind: str = "", use: str = "") -> RowFile:
        """The rows under an id, to be read and written by number; for `kind` and `use` see `put`."""
        return RowFile(
            self._node_path("artifacts", id),
            {"id": id, "line": self.environment_key, "kind": kind, "use": use},
        )

    def hold_lock(self, id: str, *, seconds: float = 300.0) -> AbstractContextManager[NodeLock]:
        """The right to build a node, while the context lasts; raises Busy when somebody alive has it."""
        return lock.hold(self._lock_path(id), seconds=seconds)

    def load_checkpoint(self, id: str) -> Tensors | None:
        """The checkpoint of an unfinished build; None when there is none or it is corrupt (then it is set aside)."""
        path = self._node_path("saved", id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        found = artifact.unpack_checkpoint(content)
        if isinstance(found, CorruptEntry):
            self._set_aside(path, found)
            return None
        return found

    def save_checkpoint(self, id: str, tensors: Tensors) -> None:
        """Keep the state of an unfinished build in place of the one before."""
        path = self._node_path("saved", id)
        with explain_write_errors(path):
            files.write_atomic(path, *artifact.pack_checkpoint(tensors))

    def delete_checkpoint(self, id: str) -> None:
        """Drop a checkpoint."""
        self._node_path("saved", id).unlink(missing_ok=True)

    def remove_node(self, id: str, *, line: str | None = None) -> int:
        """Remove a node's artifact and checkpoint (of another `line` when given); returns the bytes; raises Busy."""
        there = Cache(self.root, line=line or self.environment_key)
        if lock.is_held(there._lock_path(id)):
            raise Busy(
                f"found node {id!r} leased; expected nobody to build or use it; stop the run that does, then retry"
            )
        paths = [
            path
            for path in (there._node_path("artifacts", id), there._node_path("saved", id))
            if path.exists()
        ]
        freed = sum(map(maintenance.stored_bytes, paths))
        for path in paths:
            files.remove_atomic(path)
        return freed

    def drop_artifact(self, id: str) -> None:
        """Remove the artifact under an id, if there is one; for who builds it anew."""
        with suppress(FileNotFoundError):
            files.remove_atomic(self._node_path("artifacts", id))

    def list_entries(self) -> Iterator[CacheEntry]:
        """Every artifact and checkpoint of every line, by line and id."""
        return maintenance.list_entries(self.root)

    def verify(self) -> list[VerifiedEntry]:
        """Hash everything, of every line; nothing is removed but leftovers of killed writers."""
        return list(maintenance.verify_entries(self.root))

    def prune(self, max_bytes: int) -> PruneResult:
        """Remove the least recently used, of every line, until `max_bytes` are left; what is leased stays.

        Leftovers of killed writers and what was set aside as corrupt (told when it was found) go first.
        """
        maintenance.remove_leftovers(self.root)
        files.delete_if_present(self.root / "corrupt")
        return maintenance.prune_entries(self.root, max_bytes=max_bytes)

    def make_room(self, *, keep: Path) -> None:
        """Bring the cache below its largest size; what lies in `keep` stays."""
        if self.max_bytes is not None:
            maintenance.prune_entries(self.root, max_bytes=self.max_bytes, keep=keep)

    def register_run(self, path: Path) -> None:
        """Note a run folder, so that other runs find its records."""
        write_run_note(self.root / "runs", path)

    def registered_runs(self) -> list[Path]:
        """The run folders noted here that still exist, sorted."""
        roots = [self.root] if self.below is None else [self.root, self.below]
        return sorted({path for root in roots for path in read_run_notes(root / "runs")})

    def _node_path(self, part: str, id: str, *, root: Path | None = None) -> Path:
        if not re.fullmatch(r"[0-9a-f]{8,}", id):
            raise ValueError(f"found the id {id!r}; expected at least 8 hexadecimal digits")
        return (root or self.root) / part / self.environment_key / id[:2] / id

    def _lock_path(self, id: str) -> Path:
        return maintenance.lock_path(
            self.root, id=self._node_path("artifacts", id).name, line=self.environment_key
        )

    def _publish_folder(self, beside: Path, folder: Path) -> Artifact:
        """Rename a finished folder into place, unless an intact one is there."""
        while not files.try_rename(beside, folder):
            if kept := self.get(
                folder.name
            ):  # a corrupt one is set aside, so that the next try has room
                return self._report_difference(kept, beside)
        sync_folder(folder.parent)
        kept = self.get(folder.name)
        if kept is None:
            raise CacheError(
                f"found artifact {folder.name!r} unreadable right after writing it; check the disk"
            )
        return kept

    def _report_difference(self, kept: Artifact, beside: Path) -> Artifact:
        if (again := file_sha256(beside / artifact.DATA_FILE)) != kept.digest:
            logger.warning(
                "node %s was built twice with other bits: %s is kept, not %s",
                kept.id,
                kept.digest,
                again,
            )
        return kept

    def _set_aside(self, path: Path, fault: CorruptEntry) -> None:
        aside = self.root / "corrupt" / self.environment_key / f"{path.name}.{secrets.token_hex(4)}"
        with suppress(
            OSError
        ):  # another reader has just set it aside, or the cache may only be read
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
        logger.warning(
            "node %s was corrupt and will be built again: %s; set aside in %s",
            path.name,
            fault.reason,
            aside,
        )
