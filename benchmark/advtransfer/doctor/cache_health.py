"""The artifact cache and the disks that runs write to."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from advtransfer import files
from advtransfer.cache import Cache
from advtransfer.doctor.finding import Finding, FindingStatus
from advtransfer.files import default_cache_root
from advtransfer.text import format_bytes, pluralize

LITTLE_DISK_BYTES = 5 * 10**9
TOO_LITTLE_DISK_BYTES = 10**9
MAX_CLOCK_DIFFERENCE_SECONDS = 5.0
"""Digests of files are remembered by their times of change, which are compared with this host's clock."""


def examine_cache() -> list[Finding]:
    """Examine the cache: permission, entries, leftovers, locks, the clock of its disk, and free disk."""
    root = default_cache_root()
    cache = Cache(root, line="any")
    reason = cache.unwritable_reason()
    if reason is not None:
        found = f"the cache {root} cannot be written ({reason})"
        next_step = "set ADVTRANSFER_CACHE to a folder of your own"
        return [Finding("cache", "problem", found, next_step), *_disk_findings(Path.cwd())]
    faults = [*_entry_faults(cache), *_file_system_faults(root)]
    return [_size_finding(cache), *faults, *_disk_findings(root, Path.cwd())]


def _size_finding(cache: Cache) -> Finding:
    entries = list(cache.list_entries())
    total = format_bytes(sum(entry.bytes for entry in entries))
    found = f"{pluralize(len(entries), 'artifact')}, {total} in {cache.root}"
    return Finding("cache", "ok", found)


def _entry_faults(cache: Cache) -> Iterator[Finding]:
    unreadable = [entry for entry in cache.list_entries() if not entry.kind]
    if unreadable:
        found = f"{pluralize(len(unreadable), 'artifact')} without a readable description"
        next_step = "`advtransfer cache verify` names them; they are built again when needed"
        yield Finding("cache", "problem", found, next_step)
    corrupt = sorted((cache.root / "corrupt").glob("*/*"))
    if corrupt:
        found = f"{pluralize(len(corrupt), 'corrupt artifact')} set aside; check the disk"
        yield Finding("cache", "problem", found, "then `advtransfer cache prune` removes them")
    leftovers = files.stale_temporaries(cache.root)
    if leftovers:
        found = f"{pluralize(len(leftovers), 'temporary file')} of runs that were killed"
        yield Finding("cache", "note", found, "`advtransfer cache prune` removes them")


def _file_system_faults(root: Path) -> Iterator[Finding]:
    """Try on the cache's file system what a run relies on: flock, and a clock that agrees with this host's."""
    probe = files.temporary_path(root / "probe")
    try:
        with probe.open("wb") as stream:
            difference = abs(os.fstat(stream.fileno()).st_mtime - time.time())
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        found = f"files in {root} cannot be locked ({error.strerror})"
        next_step = "set ADVTRANSFER_CACHE to a local folder, or mount the file system with locks"
        yield Finding("cache", "problem", found, next_step)
        return
    finally:
        probe.unlink(missing_ok=True)
    if difference > MAX_CLOCK_DIFFERENCE_SECONDS:
        found = (
            f"the clock of the cache's file system differs by {difference:.0f} s from this host's"
        )
        next_step = "synchronise the clocks of the hosts: locks do without them, but digests of changed files do not"
        yield Finding("cache", "problem", found, next_step)


def _disk_findings(*folders: Path) -> list[Finding]:
    """Return the free space of each disk once."""
    disks = {folder.stat().st_dev: folder for folder in reversed(folders)}
    return [_disk_finding(folder) for folder in reversed(disks.values())]


def _disk_finding(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{format_bytes(free)} free at {folder}"
    if free >= LITTLE_DISK_BYTES:
        return Finding("disk", "ok", found)
    next_step = (
        "make room; `advtransfer cache prune --max-bytes 2GB` removes what was not used for longest"
    )
    status: FindingStatus = "problem" if free < TOO_LITTLE_DISK_BYTES else "note"
    return Finding("disk", status, found, next_step)
