"""Looking after a cache without torch: what lies in it, whether it is intact, and what makes room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from advtransfer import files
from advtransfer.cache import artifact, lease, rows
from advtransfer.cache.artifact import META, Corrupt

CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Entry:
    """One artifact, store of rows or checkpoint (of that kind): its size in bytes, last use in unix seconds."""

    id: str
    line: str
    bytes: int
    used: float
    kind: str
    use: str
    path: Path


@dataclass(frozen=True, slots=True)
class Checked:
    """One entry, hashed: `reason` says why it is corrupt, None when it is intact."""

    id: str
    line: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What eviction removed, their bytes together, and the bytes that are left."""

    removed: tuple[Entry, ...]
    bytes: int
    left: int


def entries(root: Path) -> Iterator[Entry]:
    """Every artifact, store of rows and checkpoint of every line, by line and id."""
    for path in sorted([*root.glob("artifacts/*/*/[!.]*"), *root.glob("saved/*/*/[!.]*")], key=_place):
        try:
            yield _entry(path)
        except FileNotFoundError:  # removed by somebody else since it was listed
            continue


def verify(root: Path) -> Iterator[Checked]:
    """Hash everything; leftovers of killed writers are swept first."""
    sweep(root)
    for entry in entries(root):
        try:
            reason = _fault(entry)
        except OSError as error:
            reason = Corrupt(f"{Path(error.filename or entry.path).name}: {error.strerror}")
        yield Checked(entry.id, entry.line, reason.reason if reason else None)


def prune(root: Path, *, max_bytes: int, keep: Path | None = None) -> Pruned:
    """Remove the least recently used until `max_bytes` are left; what is leased, and `keep`, stays."""
    waiting = sorted(entries(root), key=lambda entry: (entry.used, entry.id))
    left, removed = sum(entry.bytes for entry in waiting), []
    for entry in waiting:
        if left <= max_bytes:
            break
        if entry.path == keep or lease.held(lease_path(root, id=entry.id, line=entry.line)):
            continue
        left -= entry.bytes
        if _removed(entry.path):
            removed.append(entry)
    return Pruned(tuple(removed), sum(entry.bytes for entry in removed), left)


def sweep(root: Path) -> list[Path]:
    """Delete temporary files and leases of processes that are gone; returns what was deleted."""
    stale = [path for folder in sorted(root.glob("leases/*")) for path in lease.sweep(folder)]
    return stale + files.sweep(root)


def lease_path(root: Path, *, id: str, line: str) -> Path:
    """Where the lease on a node lies."""
    return root / "leases" / line / id


def size(path: Path) -> int:
    """The bytes of an artifact or checkpoint; of a store of rows, which has holes, those that it takes on the disk."""
    return rows.allocated(path) if rows.is_store(path) else files.size(path)


def _entry(path: Path) -> Entry:
    id, line = path.name, path.parent.parent.name
    if path.is_file():
        return Entry(id, line, files.size(path), path.stat().st_mtime, CHECKPOINT, "", path)
    try:
        meta = path / META
        said, used = json.loads(meta.read_text(encoding="utf-8")), meta.stat().st_mtime
        kind, use = said["kind"], said["use"]
    except (OSError, ValueError, KeyError, TypeError):  # corrupt: still listed, so that it can be removed
        kind, use, used = "", "", path.stat().st_mtime
    return Entry(id, line, size(path), used, kind, use, path)


def _fault(entry: Entry) -> Corrupt | None:
    if entry.kind == CHECKPOINT:
        return artifact.unpackable(entry.path.read_bytes())
    if rows.is_store(entry.path):
        fault = rows.fault(entry.path)
        return Corrupt(fault) if fault else None
    found = artifact.read(entry.path, id=entry.id, line=entry.line)
    return found if isinstance(found, Corrupt) else None


def _removed(path: Path) -> bool:
    try:
        files.remove(path)
    except FileNotFoundError:  # somebody else removed it first
        return False
    return True


def _place(path: Path) -> tuple[str, str, str]:
    return path.parent.parent.name, path.name, path.parts[-4]
