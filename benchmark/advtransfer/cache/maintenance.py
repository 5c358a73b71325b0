"""Maintenance of a cache: list its entries, verify them, and remove the least recently used.

Does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from advtransfer import files
from advtransfer.cache import artifact, lock, rows
from advtransfer.cache.artifact import META_FILE, CorruptEntry

CHECKPOINT_KIND = "checkpoint"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One artifact, store of rows or checkpoint (of that kind): its size in bytes, last use in unix seconds."""

    id: str
    environment_key: str
    bytes: int
    last_used: float
    kind: str
    use: str
    path: Path


@dataclass(frozen=True, slots=True)
class VerifiedEntry:
    """One entry, hashed: `reason` says why it is corrupt, None when it is intact."""

    id: str
    environment_key: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What eviction removed, their bytes together, and the bytes that are left."""

    removed: tuple[CacheEntry, ...]
    removed_bytes: int
    remaining_bytes: int


def list_entries(root: Path) -> Iterator[CacheEntry]:
    """Every artifact, store of rows and checkpoint of every line, by line and id."""
    for path in sorted(
        [*root.glob("artifacts/*/*/[!.]*"), *root.glob("saved/*/*/[!.]*")], key=_entry_order
    ):
        try:
            yield _read_entry(path)
        except FileNotFoundError:  # removed by somebody else since it was listed
            continue


def verify_entries(root: Path) -> Iterator[VerifiedEntry]:
    """Hash everything; leftovers of killed writers are swept first."""
    remove_leftovers(root)
    for entry in list_entries(root):
        try:
            reason = _entry_fault(entry)
        except OSError as error:
            reason = CorruptEntry(f"{Path(error.filename or entry.path).name}: {error.strerror}")
        yield VerifiedEntry(entry.id, entry.environment_key, reason.reason if reason else None)


def prune_entries(root: Path, *, max_bytes: int, keep: Path | None = None) -> PruneResult:
    """Remove the least recently used until `max_bytes` are left; what is leased, and `keep`, stays."""
    waiting = sorted(list_entries(root), key=lambda entry: (entry.last_used, entry.id))
    left, removed = sum(entry.bytes for entry in waiting), []
    for entry in waiting:
        if left <= max_bytes:
            break
        if entry.path == keep or lock.is_held(
            lock_path(root, id=entry.id, line=entry.environment_key)
        ):
            continue
        left -= entry.bytes
        if _try_remove(entry.path):
            removed.append(entry)
    return PruneResult(tuple(removed), sum(entry.bytes for entry in removed), left)


def remove_leftovers(root: Path) -> list[Path]:
    """Delete temporary files and leases of processes that are gone; returns what was deleted."""
    stale = [
        path
        for folder in sorted(root.glob("leases/*"))
        for path in lock.remove_expired_locks(folder)
    ]
    return stale + files.remove_stale_temporaries(root)


def lock_path(root: Path, *, id: str, line: str) -> Path:
    """Where the lease on a node lies."""
    return root / "leases" / line / id


def stored_bytes(path: Path) -> int:
    """The bytes of an artifact or checkpoint; of a store of rows, which has holes, those that it takes on the disk."""
    return rows.allocated_bytes(path) if rows.is_row_file(path) else files.total_bytes(path)


def _read_entry(path: Path) -> CacheEntry:
    id, line = path.name, path.parent.parent.name
    if path.is_file():
        return CacheEntry(
            id, line, files.total_bytes(path), path.stat().st_mtime, CHECKPOINT_KIND, "", path
        )
    try:
        meta = path / META_FILE
        said, used = json.loads(meta.read_text(encoding="utf-8")), meta.stat().st_mtime
        kind, use = said["kind"], said["use"]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # corrupt: still listed, so that it can be removed
        kind, use, used = "", "", path.stat().st_mtime
    return CacheEntry(id, line, stored_bytes(path), used, kind, use, path)


def _entry_fault(entry: CacheEntry) -> CorruptEntry | None:
    if entry.kind == CHECKPOINT_KIND:
        return artifact.checkpoint_fault(entry.path.read_bytes())
    if rows.is_row_file(entry.path):
        fault = rows.row_file_fault(entry.path)
        return CorruptEntry(fault) if fault else None
    found = artifact.read_folder(entry.path, id=entry.id, line=entry.environment_key)
    return found if isinstance(found, CorruptEntry) else None


def _try_remove(path: Path) -> bool:
    try:
        files.remove_atomic(path)
    except FileNotFoundError:  # somebody else removed it first
        return False
    return True


def _entry_order(path: Path) -> tuple[str, str, str]:
    return path.parent.parent.name, path.name, path.parts[-4]
