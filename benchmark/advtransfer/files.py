"""Files that are whole or not there: written beside, fsynced, renamed; and the leftovers of killed writers."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

from advtransfer.owner import Owner, started, this_host

STRANGER_SECONDS = 24 * 3600.0  # a temporary file of another host, where we cannot ask whether its writer lives
REFUSALS = {
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
"""What a system says when it will not read or write a file: no room, no permission, another kind of thing there."""

WRITER = re.compile(r"\.(?P<host>[0-9a-f]{12})-(?P<pid>\d+)-(?P<start>[0-9a-f]{12})\.[0-9a-f]{8}\.tmp$")


def beside(path: Path) -> Path:
    """A temporary name in the folder of `path` that says who writes it; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    me = Owner.me()
    return path.with_name(f".{path.name}.{_tag(me.host)}-{me.pid}-{_tag(me.start)}.{secrets.token_hex(4)}.tmp")


def write_whole(path: Path, *chunks: bytes) -> None:
    """Put a file in place of whatever was there, at once and for good: a kill leaves the old one, or the new one."""
    temporary = beside(path)
    try:
        with temporary.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    with contextlib.suppress(OSError):  # a folder cannot be opened so on Windows, and need not be
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def renamed(path: Path, to: Path) -> bool:
    """Rename a folder; False when its new name is taken by one that is not empty."""
    try:
        path.rename(to)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def remove(path: Path) -> None:
    """Make a file or folder vanish at once; a reader sees all of it or none."""
    grave = beside(path)
    path.rename(grave)
    discard(grave)


def discard(path: Path) -> None:
    """Delete a file or folder that nobody reads; nothing happens when it is gone."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(root: Path, *, pattern: str = "**/.*.tmp") -> list[Path]:
    """Delete temporary files whose writer is dead; returns what was deleted, sorted."""
    swept = sorted(path for path in root.glob(pattern) if _abandoned(path))
    for path in swept:
        discard(path)
    return swept


def _abandoned(path: Path) -> bool:
    writer = WRITER.search(path.name)
    if writer and writer["host"] == _tag(this_host()):
        return _tag(started(int(writer["pid"])) or "gone") != writer["start"]
    try:
        return time.time() - path.stat().st_mtime > STRANGER_SECONDS
    except FileNotFoundError:  # its writer has just finished
        return False


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
