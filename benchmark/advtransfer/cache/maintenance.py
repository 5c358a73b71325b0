"""Maintenance of a cache: list its entries, verify them, and remove the least recently used.

Does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from advtransfer import files
from advtransfer.cache import artifact, lock, rows
from advtransfer.cache.artifact import META_FILE, CorruptEntry

CHECKPOINT_KIND = "checkpoint"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One artifact, row file or checkpoint; `last_used` in unix seconds."""

    id: str
    environment_key: str
    bytes: int
    last_used: float
    kind: str
    use: str
    path: Path


@dataclass(frozen=True, slots=True)
class VerifiedEntry:
    """One verified entry; `reason` says why it is corrupt, None for an intact one."""

    id: str
    environment_key: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The entries that eviction removed, their total size, and the size of the rest."""

    removed: tuple[CacheEntry, ...]
    removed_bytes: int
    remaining_bytes: int


def list_entries(root: Path) -> Iterator[CacheEntry]:
    """Yield the artifacts, row files and checkpoints of all environments, by environment key and id."""
    paths = [*root.glob("artifacts/*/*/[!.]*"), *root.glob("saved/*/*/[!.]*")]
    for path in sorted(paths, key=_entry_order):
        try:
            yield _read_entry(path)
        except FileNotFoundError:  # Another process has removed it since it was listed.
            continue


def verify_entries(root: Path) -> Iterator[VerifiedEntry]:
    """Verify every entry; remove the temporary files of killed writers first."""
    remove_leftovers(root)
    for entry in list_entries(root):
        try:
            fault = _entry_fault(entry)
        except OSError as error:
            fault = CorruptEntry(f"{Path(error.filename or entry.path).name}: {error.strerror}")
        yield VerifiedEntry(entry.id, entry.environment_key, fault.reason if fault else None)


def prune_entries(
    root: Path,
    *,
    max_bytes: int,
    keep: Path | None = None,
    is_selected: Callable[[CacheEntry], bool] = lambda entry: True,
    dry_run: bool = False,
) -> PruneResult:
    """Remove the least recently used of the selected entries until at most `max_bytes` of them are left.

    Entries with a held lock stay, since a worker builds or uses them; so does the folder `keep`. A dry run
    removes nothing and returns what would be removed.
    """
    entries = sorted(list_entries(root), key=lambda entry: (entry.last_used, entry.id))
    selected = [entry for entry in entries if is_selected(entry)]
    selected_bytes = sum(entry.bytes for entry in selected)
    remaining_bytes = sum(entry.bytes for entry in entries)
    removed: list[CacheEntry] = []
    for entry in selected:
        if selected_bytes <= max_bytes:
            break
        lock_file = lock_path(root, id=entry.id, environment_key=entry.environment_key)
        if entry.path == keep or lock.is_held(lock_file):
            continue
        # Also where another process removed it first: its bytes are gone, only not by this call.
        selected_bytes -= entry.bytes
        remaining_bytes -= entry.bytes
        if dry_run or _try_remove(entry.path):
            removed.append(entry)
    return PruneResult(tuple(removed), sum(entry.bytes for entry in removed), remaining_bytes)


def remove_leftovers(root: Path) -> list[Path]:
    """Delete expired locks, and temporary files of processes that have ended; return their paths."""
    removed: list[Path] = []
    for folder in sorted(root.glob("leases/*")):
        removed += lock.remove_expired_locks(folder)
    return removed + files.remove_stale_temporaries(root)


def lock_path(root: Path, *, id: str, environment_key: str) -> Path:
    """Return the path of the lock on a node."""
    return root / "leases" / environment_key / id


def stored_bytes(path: Path) -> int:
    """Return the bytes of an artifact or checkpoint; of a row file, which is sparse, those on the disk."""
    return rows.allocated_bytes(path) if rows.is_row_file(path) else files.total_bytes(path)


def _read_entry(path: Path) -> CacheEntry:
    id = path.name
    environment_key = path.parent.parent.name
    if path.is_file():
        size, last_used = files.total_bytes(path), path.stat().st_mtime
        return CacheEntry(id, environment_key, size, last_used, CHECKPOINT_KIND, "", path)
    meta = path / META_FILE
    try:
        description = json.loads(meta.read_text(encoding="utf-8"))
        last_used = meta.stat().st_mtime
        kind, use = description["kind"], description["use"]
    except (OSError, ValueError, KeyError, TypeError):
        # A corrupt entry is still listed, so that it can be removed.
        last_used = path.stat().st_mtime
        kind = use = ""
    return CacheEntry(id, environment_key, stored_bytes(path), last_used, kind, use, path)


def _entry_fault(entry: CacheEntry) -> CorruptEntry | None:
    if entry.kind == CHECKPOINT_KIND:
        return artifact.checkpoint_fault(entry.path.read_bytes())
    if rows.is_row_file(entry.path):
        fault = rows.row_file_fault(entry.path)
        return CorruptEntry(fault) if fault else None
    content = artifact.read_folder(entry.path, id=entry.id, environment_key=entry.environment_key)
    return content if isinstance(content, CorruptEntry) else None


def _try_remove(path: Path) -> bool:
    try:
        files.remove_atomic(path)
    except FileNotFoundError:  # Another process removed it first.
        return False
    return True


def _entry_order(path: Path) -> tuple[str, str, str]:
    environment_key, id, part = path.parent.parent.name, path.name, path.parts[-4]
    return environment_key, id, part
