"""The cache as one object: artifacts, rows, locks, checkpoints, and the run folders known on this machine."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from itertools import chain
from pathlib import Path
from typing import Protocol

from advtransfer import files
from advtransfer.cache import artifact, lock, maintenance
from advtransfer.cache.artifact import META_FILE, Artifact, CorruptEntry, explain_write_errors
from advtransfer.cache.lock import HeldLock, LockClaim
from advtransfer.cache.maintenance import CacheEntry, PruneResult, VerifiedEntry
from advtransfer.cache.rows import RowFile, merge_rows
from advtransfer.errors import Busy, CacheError
from advtransfer.files import file_sha256, sync_folder
from advtransfer.node import text_sha256
from advtransfer.types import Json, Tensors

logger = logging.getLogger(__name__)


class RemoteCache(Protocol):
    """The cache of another machine, as a cache here uses it."""

    def fetch(self, cache: Cache, id: str) -> bool:
        """Copy what the other cache has under an id into this one; return False where it has nothing."""

    def note_change(self, cache: Cache, id: str) -> None:
        """Note that something is written here under an id."""


def environment_key(
    device: str,
    threads: int,
    precision: str,
    kernel_batch: int | None = None,
    compiled: bool = False,
    halved_kernel_batch: int | None = None,
) -> str:
    """Return the key under which artifacts of equal bits are: ``cpu-1-float32``; a GPU's number is no part of it.

    A kernel batch that the run names follows as ``-96``, ``-compiled`` where torch's compiler trains, and
    ``-halved-64`` where memory ran out.
    """
    key = f"{device.partition(':')[0]}-{threads}-{precision}"
    if kernel_batch is not None:
        key = f"{key}-{kernel_batch}"
    if compiled:
        key = f"{key}-compiled"
    return key if halved_kernel_batch is None else f"{key}-halved-{halved_kernel_batch}"


class Cache:
    """Artifacts by content id, shared by all workers on this file system.

    Args:
        root: The cache's folder, created when needed.
        line: The environment key: device type, threads and precision (``cpu-1-float32``).
        max_bytes: The size above which each `put` evicts the least recently used; None for no limit.
        below: The folder of a second cache that is only read, for artifacts missing in this one.
        remote: The cache of another machine, which is asked for what is missing here.
    """

    def __init__(
        self,
        root: Path,
        *,
        line: str,
        max_bytes: int | None = None,
        below: Path | None = None,
        remote: RemoteCache | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", line):
            raise ValueError(
                f"found the environment key {line!r}; expected letters, digits, '.', '_' and '-', "
                "as in 'cpu-1-float32'"
            )
        self.root = root
        self.environment_key = line
        self.max_bytes = max_bytes
        self.below = below
        self.remote = remote

    def get(self, id: str) -> Artifact | None:
        """Return the artifact with its content verified; None when it is missing or corrupt.

        A corrupt one is set aside.
        """
        folder = self._node_path("artifacts", id)
        content = artifact.read_folder(folder, id=id, environment_key=self.environment_key)
        if isinstance(content, CorruptEntry):
            self._set_aside(folder, content)
            return None
        if content is None:
            return self._get_from_below(id) or self._get_from_remote(id)
        # The time of last use, by which entries are evicted. A shared cache may be read-only.
        with suppress(OSError):
            os.utime(folder / META_FILE)
        return content

    def _get_from_below(self, id: str) -> Artifact | None:
        if self.below is None:
            return None
        folder = self._node_path("artifacts", id, root=self.below)
        content = artifact.read_folder(folder, id=id, environment_key=self.environment_key)
        return content if isinstance(content, Artifact) else None

    def has_artifact(self, id: str) -> bool:
        """Return whether there is an artifact under an id, without a look at its content."""
        roots = [self.root] if self.below is None else [self.root, self.below]
        return any(self._node_path("artifacts", id, root=root).exists() for root in roots)

    def _get_from_remote(self, id: str) -> Artifact | None:
        if self.remote is None or not self.remote.fetch(self, id):
            return None
        content = artifact.read_folder(
            self.folder_of(id), id=id, environment_key=self.environment_key
        )
        return content if isinstance(content, Artifact) else None

    def unwritable_reason(self) -> str | None:
        """Return why nothing can be stored here, or None."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = files.temporary_path(self.root / "probe")
            probe.touch()
            probe.unlink()
        except OSError as error:
            return error.strerror or str(error)
        locks = self.root / "leases" / self.environment_key
        artifacts = self.root / "artifacts" / self.environment_key
        checkpoints = self.root / "saved" / self.environment_key
        # A shared root may be writable while folders that another user created in it are not.
        for path in (locks, locks / ".guard", artifacts, *artifacts.glob("*"), checkpoints):
            if path.exists() and not os.access(path, os.W_OK):
                return f"no permission to write {path.relative_to(self.root)}"
        return None

    def put(
        self, id: str, tensors: Tensors, facts: Mapping[str, Json], *, kind: str = "", use: str = ""
    ) -> Artifact:
        """Store tensors and facts under an id, and delete its checkpoint.

        An intact artifact that is already stored stays and is returned, since records may hold its digest.

        Args:
            id: The node's id.
            tensors: The tensors by name, on any device.
            facts: JSON without NaN; read back exactly.
            kind: The node's kind, shown by `list_entries`.
            use: The component that built it, ``plugin/factory``, shown by `list_entries`.

        Raises:
            CacheError: The artifact could not be written or read back.
        """
        folder = self._node_path("artifacts", id)
        with explain_write_errors(folder):
            temporary = files.temporary_path(folder)
        try:
            with explain_write_errors(folder):
                temporary.mkdir()
                artifact.write_folder(
                    temporary,
                    id=id,
                    environment_key=self.environment_key,
                    tensors=tensors,
                    facts=facts,
                    kind=kind,
                    use=use,
                )
            stored = self.publish_folder(temporary, id)
        finally:
            files.delete_if_present(temporary)
        self.delete_checkpoint(id)
        self.make_room(keep=folder)
        if self.remote is not None:
            self.remote.note_change(self, id)
        return stored

    def rows(self, id: str, *, kind: str = "", use: str = "") -> RowFile:
        """Return the rows under an id, to read and write by number; for `kind` and `use` see `put`."""
        folder = self.folder_of(id)
        if self.remote is not None:
            if not folder.exists():
                self.remote.fetch(self, id)
            self.remote.note_change(self, id)
        return RowFile(
            folder,
            {"id": id, "line": self.environment_key, "kind": kind, "use": use},
        )

    def hold_lock(
        self, id: str, *, seconds: float | None = None
    ) -> AbstractContextManager[HeldLock]:
        """Hold the lock on a node in a context; raise Busy when another process holds it."""
        return lock.hold(self._lock_path(id), seconds=seconds)

    def binding_locks(self) -> list[LockClaim]:
        """Return the locks on nodes of this environment that bind."""
        return list(lock.binding_locks(self.root / "leases" / self.environment_key).values())

    def load_checkpoint(self, id: str) -> Tensors | None:
        """Return the checkpoint of an unfinished build; None when it is missing or corrupt.

        A corrupt one is set aside.
        """
        path = self._node_path("saved", id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        tensors = artifact.unpack_checkpoint(content)
        if isinstance(tensors, CorruptEntry):
            self._set_aside(path, tensors)
            return None
        return tensors

    def save_checkpoint(self, id: str, tensors: Tensors) -> None:
        """Store the state of an unfinished build in place of the previous one."""
        path = self._node_path("saved", id)
        with explain_write_errors(path):
            files.write_atomic(path, *artifact.pack_checkpoint(tensors))

    def delete_checkpoint(self, id: str) -> None:
        """Delete a checkpoint, if there is one."""
        self._node_path("saved", id).unlink(missing_ok=True)

    def remove_node(self, id: str, *, line: str | None = None) -> int:
        """Remove a node's artifact and checkpoint; return their bytes.

        Args:
            id: The node's id.
            line: Another environment key than the cache's own.

        Raises:
            Busy: A process holds the lock on the node.
        """
        cache = Cache(self.root, line=line or self.environment_key)
        if lock.is_held(cache._lock_path(id)):
            raise Busy(
                f"found node {id!r} locked; expected no process to build or use it; "
                "stop the run that does, then retry"
            )
        paths = [cache._node_path(part, id) for part in ("artifacts", "saved")]
        stored_paths = [path for path in paths if path.exists()]
        removed_bytes = sum(map(maintenance.stored_bytes, stored_paths))
        for path in stored_paths:
            files.remove_atomic(path)
        return removed_bytes

    def drop_artifact(self, id: str) -> None:
        """Remove the artifact under an id, if there is one, to build it again."""
        with suppress(FileNotFoundError):
            files.remove_atomic(self._node_path("artifacts", id))

    def list_entries(self) -> Iterator[CacheEntry]:
        """Yield the artifacts and checkpoints of all environments, by environment key and id."""
        return maintenance.list_entries(self.root)

    def verify(self) -> list[VerifiedEntry]:
        """Verify the entries of all environments; remove only temporary files of killed writers."""
        return list(maintenance.verify_entries(self.root))

    def prune(
        self,
        max_bytes: int,
        *,
        is_selected: Callable[[CacheEntry], bool] = lambda entry: True,
        dry_run: bool = False,
    ) -> PruneResult:
        """Remove the least recently used of the selected entries until `max_bytes` of them are left.

        Entries of all environments are pruned; those with a held lock stay. Corrupt entries that were set
        aside, and temporary files of killed writers, are removed first. A dry run removes nothing.
        """
        if not dry_run:
            maintenance.remove_leftovers(self.root)
            files.delete_if_present(self.root / "corrupt")
        return maintenance.prune_entries(
            self.root, max_bytes=max_bytes, is_selected=is_selected, dry_run=dry_run
        )

    def make_room(self, *, keep: Path) -> None:
        """Evict entries until the cache is below its largest size; the folder `keep` stays."""
        if self.max_bytes is not None:
            maintenance.prune_entries(self.root, max_bytes=self.max_bytes, keep=keep)

    def register_run(self, path: Path) -> None:
        """Add a run folder to those known on this machine, so that other runs find its records."""
        run = str(path.resolve())
        note = self.root / "runs" / f"{text_sha256(run)[:32]}.json"
        if _noted_path(note) != Path(run):
            files.write_atomic(note, json.dumps({"path": run}).encode())

    def registered_runs(self) -> list[Path]:
        """Return the known run folders that still exist, sorted; log notes that cannot be read."""
        roots = [self.root] if self.below is None else [self.root, self.below]
        runs: set[Path] = set()
        for note in chain.from_iterable(
            sorted((root / "runs").glob("[!.]*.json")) for root in roots
        ):
            path = _noted_path(note)
            if path is None:
                logger.warning("%s does not name a run folder and is not used; delete it", note)
            elif _is_readable_folder(path):
                runs.add(path)
        return sorted(runs)

    def folder_of(self, id: str) -> Path:
        """Return the folder of an artifact or of rows, whether it exists or not."""
        return self._node_path("artifacts", id)

    def publish_rows(self, temporary: Path, id: str) -> None:
        """Move a folder of rows to its name, or add its rows to those that are there."""
        folder = self.folder_of(id)
        while not files.try_rename(temporary, folder):
            if merge_rows(temporary, folder):
                return
            # Its meta.json is unreadable, so its rows are lost.
            files.remove_atomic(folder)

    def _node_path(self, part: str, id: str, *, root: Path | None = None) -> Path:
        if not re.fullmatch(r"[0-9a-f]{8,}", id):
            raise ValueError(f"found the id {id!r}; expected at least 8 hexadecimal digits")
        return (root or self.root) / part / self.environment_key / id[:2] / id

    def _lock_path(self, id: str) -> Path:
        checked_id = self._node_path("artifacts", id).name
        return maintenance.lock_path(self.root, id=checked_id, environment_key=self.environment_key)

    def publish_folder(self, temporary: Path, id: str) -> Artifact:
        """Rename a finished folder to its final name, unless an intact one has that name.

        Raises:
            CacheError: What is in the folder is no intact artifact of this id.
        """
        folder = self.folder_of(id)
        while not files.try_rename(temporary, folder):
            # `get` sets a corrupt folder aside, so that the next attempt to rename succeeds.
            if stored := self.get(folder.name):
                _report_difference(stored, temporary)
                return stored
        sync_folder(folder.parent)
        published = self.get(folder.name)
        if published is None:
            raise CacheError(
                f"found artifact {folder.name!r} unreadable right after writing it; check the disk"
            )
        return published

    def _set_aside(self, path: Path, fault: CorruptEntry) -> None:
        aside = self.root / "corrupt" / self.environment_key / f"{path.name}.{secrets.token_hex(4)}"
        # Another reader may have just set it aside, or the cache may be read-only.
        with suppress(OSError):
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
        logger.warning(
            "node %s was corrupt and will be built again: %s; set aside in %s",
            path.name,
            fault.reason,
            aside,
        )


def _report_difference(stored: Artifact, temporary: Path) -> None:
    """Log where a second build of a node gave other bits than the stored one."""
    digest = file_sha256(temporary / artifact.DATA_FILE)
    if digest != stored.digest:
        logger.warning(
            "node %s was built twice with other bits: %s is kept, not %s",
            stored.id,
            stored.digest,
            digest,
        )


def _noted_path(note: Path) -> Path | None:
    """Return the run folder that a note names; None where the note is missing or unreadable."""
    try:
        return Path(json.loads(note.read_text(encoding="utf-8"))["path"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_readable_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # No permission to look, or a name that no file can have.
        return False
