"""Files that are written completely or not at all, the process that writes them, and the root folder of the cache.

A file is written to a temporary name, fsynced and renamed. The temporary name holds the writer's process id, so that
what a killed writer left is recognised and removed. A pid alone is not enough, because pids are reused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from advtransfer.errors import BadInput, Problem

DEAD_STATES = {"Z", "X"}  # states of a process that was killed and that nobody has waited for


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process: the host (with its pid namespace), the pid, and when the process started (with the boot)."""

    host: str
    pid: int
    start: str

    @classmethod
    def current_process(cls) -> ProcessId:
        """The calling process."""
        return cls(host_identity(), os.getpid(), process_start(os.getpid()) or "")

    def is_alive(self) -> bool | None:
        """Whether the process still runs; None when it is on another host, where nobody here can tell."""
        return None if self.host != host_identity() else process_start(self.pid) == self.start


def host_identity() -> str:
    """The host's name and the pid namespace (a container has its own pids)."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no /proc: a system without containers that share a host name
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """When a process of this host started, as ``"<boot> <ticks>"``; ``""`` where there is no /proc; None when gone."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "" if not Path("/proc/self/stat").exists() and _pid_exists(pid) else None
    return None if state in DEAD_STATES else f"{boot} {fields[18]}"


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as somebody else
        return True
    return True


FOREIGN_TEMPORARY_MAX_SECONDS = (
    24 * 3600.0
)  # a temporary file of another host, where we cannot ask whether its writer lives
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
"""What a system says when it will not read or write a file: no room, no permission, another kind of thing there."""

TEMPORARY_SUFFIX = re.compile(
    r"\.(?P<host>[0-9a-f]{12})-(?P<pid>\d+)-(?P<start>[0-9a-f]{12})\.[0-9a-f]{8}\.tmp$"
)


def temporary_path(path: Path) -> Path:
    """A temporary name in the folder of `path` that says who writes it; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    me = ProcessId.current_process()
    return path.with_name(
        f".{path.name}.{_short_hash(me.host)}-{me.pid}-{_short_hash(me.start)}.{secrets.token_hex(4)}.tmp"
    )


def write_atomic(path: Path, *chunks: bytes) -> None:
    """Put a file in place of whatever was there, at once and for good: a kill leaves the old one, or the new one."""
    temporary = temporary_path(path)
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


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def total_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return (
        sum(file.stat().st_size for file in path.iterdir())
        if path.is_dir()
        else path.stat().st_size
    )


def try_rename(path: Path, to: Path) -> bool:
    """Rename a folder; False when its new name is taken by one that is not empty."""
    try:
        path.rename(to)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def remove_atomic(path: Path) -> None:
    """Make a file or folder vanish at once; a reader sees all of it or none."""
    grave = temporary_path(path)
    path.rename(grave)
    delete_if_present(grave)


def delete_if_present(path: Path) -> None:
    """Delete a file or folder that nobody reads; nothing happens when it is gone."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_stale_temporaries(root: Path, *, pattern: str = "**/.*.tmp") -> list[Path]:
    """Delete temporary files whose writer is dead; returns what was deleted, sorted."""
    swept = sorted(path for path in root.glob(pattern) if _is_abandoned(path))
    for path in swept:
        delete_if_present(path)
    return swept


def _is_abandoned(path: Path) -> bool:
    writer = TEMPORARY_SUFFIX.search(path.name)
    if writer and writer["host"] == _short_hash(host_identity()):
        return _short_hash(process_start(int(writer["pid"])) or "gone") != writer["start"]
    try:
        return time.time() - path.stat().st_mtime > FOREIGN_TEMPORARY_MAX_SECONDS
    except FileNotFoundError:  # its writer has just finished
        return False


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def default_cache_root() -> Path:
    """Where the cache lies: ``ADVTRANSFER_CACHE``, else ``advtransfer`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    if told := os.environ.get("ADVTRANSFER_CACHE"):
        return Path(told)
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "advtransfer"
    except RuntimeError as error:
        problem = Problem(
            "no home folder to keep the cache in", "one", "set ADVTRANSFER_CACHE to a folder"
        )
        raise BadInput([problem]) from error
