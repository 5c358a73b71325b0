"""Files that are written completely or not at all, and the root folder of the cache.

A file is written to a temporary name, fsynced and renamed. The temporary name holds the writer's
process id, so that files left behind by a killed writer are recognised and removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from advtransfer.errors import BadInput, Problem
from advtransfer.process_id import ProcessId, host_identity, process_start

FOREIGN_TEMPORARY_MAX_SECONDS = 24 * 3600.0
"""Age at which a temporary file of another host counts as left behind: its writer cannot be checked."""

WRITE_REFUSAL_ERRNOS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""Errors of a system that refuses to read or write a file: no space, no permission, wrong file type."""

UNGUARDED: AbstractContextManager[None] = nullcontext()

TEMPORARY_SUFFIX = re.compile(
    r"\.(?P<host>[0-9a-f]{12})-(?P<pid>\d+)-(?P<start>[0-9a-f]{12})\.[0-9a-f]{8}\.tmp$"
)


def temporary_path(path: Path) -> Path:
    """Return a temporary name beside `path` that identifies its writer; create the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = ProcessId.current_process()
    identity = f"{_short_hash(writer.host)}-{writer.pid}-{_short_hash(writer.start)}"
    return path.with_name(f".{path.name}.{identity}.{secrets.token_hex(4)}.tmp")


def write_atomic(
    path: Path, *chunks: bytes, guard: AbstractContextManager[None] = UNGUARDED
) -> None:
    """Write a file durably and at once: after a kill, the old or the new content is there.

    Args:
        path: The file.
        *chunks: Its content.
        guard: Entered around the rename alone; if it raises, nothing has changed.
    """
    with open_atomic(path, guard=guard) as file:
        file.writelines(chunks)


@contextmanager
def open_atomic(
    path: Path, *, guard: AbstractContextManager[None] = UNGUARDED
) -> Iterator[BinaryIO]:
    """Open a file that is written durably and at once when the block ends without an error.

    An error of the system names the file, which a full disk's would not by itself. For `guard` see
    `write_atomic`.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # Not around the fsync, which is slow: others wait for the guard.
        with guard:
            temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power failure, where the system supports it."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder, and need not.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def total_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files directly in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


def try_rename(path: Path, to: Path) -> bool:
    """Rename a folder; return False when a folder that is not empty has the new name."""
    try:
        path.rename(to)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def remove_atomic(path: Path) -> None:
    """Remove a file or folder at once: a reader sees all of it or none."""
    trash = temporary_path(path)
    path.rename(trash)
    delete_if_present(trash)


def delete_if_present(path: Path) -> None:
    """Delete a file or folder that nobody reads; do nothing when it does not exist."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_stale_temporaries(root: Path, *, pattern: str = "**/.*.tmp") -> list[Path]:
    """Delete temporary files whose writer has ended; return their paths, sorted."""
    stale = stale_temporaries(root, pattern=pattern)
    for path in stale:
        delete_if_present(path)
    return stale


def stale_temporaries(root: Path, *, pattern: str = "**/.*.tmp") -> list[Path]:
    """Return the temporary files whose writer has ended, sorted."""
    return sorted(path for path in root.glob(pattern) if _is_abandoned(path))


def _is_abandoned(path: Path) -> bool:
    writer = TEMPORARY_SUFFIX.search(path.name)
    if writer and writer["host"] == _short_hash(host_identity()):
        return _short_hash(process_start(int(writer["pid"])) or "gone") != writer["start"]
    try:
        return time.time() - path.stat().st_mtime > FOREIGN_TEMPORARY_MAX_SECONDS
    except FileNotFoundError:  # Its writer has just finished.
        return False


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def default_cache_root() -> Path:
    """Return ``ADVTRANSFER_CACHE``, else ``advtransfer`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        BadInput: The user has no home folder and neither variable is set.
    """
    if configured := os.environ.get("ADVTRANSFER_CACHE"):
        return Path(configured)
    xdg_home = os.environ.get("XDG_CACHE_HOME")
    try:
        cache_home = Path(xdg_home) if xdg_home else Path.home() / ".cache"
    except RuntimeError as error:
        problem = Problem(
            "no home folder to keep the cache in", "one", "set ADVTRANSFER_CACHE to a folder"
        )
        raise BadInput([problem]) from error
    return cache_home / "advtransfer"
