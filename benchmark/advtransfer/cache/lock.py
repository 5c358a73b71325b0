"""Lock on one node, held for a limited time, so that two workers do not build the same node at once.

A lock is a file created with O_EXCL that names its owner; its mtime is the last renewal. It ends when it is
released, when its owner on this host has died, or when it was not renewed in time. The time limit is for owners
on other hosts, whose processes cannot be checked. Every change happens under one ``flock`` of the folder, which
the kernel releases when its holder ends: of several processes that take over an expired lock one succeeds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from advtransfer.errors import Busy, CacheError
from advtransfer.files import delete_if_present
from advtransfer.process_id import ProcessId

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LockClaim:
    """The content of a lock file: the token of this acquisition, its owner, its end (unix seconds)."""

    token: str
    owner: ProcessId
    until: float

    def is_binding(self) -> bool:
        """Return whether the lock still excludes other processes."""
        # `is_alive` is None for an owner on another host: then only the time limit ends the lock.
        return self.owner.is_alive() is not False and time.time() < self.until


@dataclass(frozen=True, slots=True)
class NodeLock:
    """A lock that this process holds; `hold` renews it in the background."""

    path: Path
    token: str
    seconds: float

    def renew(self) -> None:
        """Extend the lock by its full length from now.

        Raises:
            CacheError: Another process took it over, because it was not renewed in time.
        """
        with folder_guard(self.path.parent):
            if not self._is_mine():
                raise CacheError(
                    f"found the lock on node {self.path.name!r} taken over; expected this process to hold it"
                )
            os.utime(self.path)

    def release(self) -> None:
        """Release the lock; do nothing when another process has taken it over."""
        with folder_guard(self.path.parent):
            if self._is_mine():
                self.path.unlink()

    def _is_mine(self) -> bool:
        claim = _read_claim(self.path)
        return claim is not None and claim.token == self.token


@contextmanager
def hold(path: Path, *, seconds: float) -> Iterator[NodeLock]:
    """Hold the lock at `path`, renewed every third of `seconds`; raise Busy when another process holds it."""
    lock = acquire(path, seconds=seconds)
    done = threading.Event()
    renewer = threading.Thread(
        target=_renew_until_done, args=(lock, done), name=f"lock-{path.name[:8]}", daemon=True
    )
    renewer.start()
    try:
        yield lock
    finally:
        done.set()
        renewer.join()
        lock.release()


def acquire(path: Path, *, seconds: float) -> NodeLock:
    """Take the lock at `path`, also from an owner that has died or is late; raise Busy otherwise."""
    lock = NodeLock(path, secrets.token_hex(16), seconds)
    with folder_guard(path.parent):
        claim = _read_claim(path)
        if claim is not None and claim.is_binding():
            owner = claim.owner
            raise Busy(
                f"found node {path.name!r} being built by process {owner.pid} on {owner.host.split()[0]!r}; "
                "expected nobody; the job is put back and tried again"
            )
        # The file is stale, or torn: its writer died while it held the folder's guard.
        delete_if_present(path)
        content = {
            "token": lock.token,
            "seconds": seconds,
            "owner": asdict(ProcessId.current_process()),
        }
        with path.open("x", encoding="utf-8") as file:
            json.dump(content, file)
    return lock


def is_held(path: Path) -> bool:
    """Return whether a living process holds the lock at `path`; one that is being written counts."""
    claim = _read_claim(path)
    return path.exists() if claim is None else claim.is_binding()


def remove_expired_locks(folder: Path) -> list[Path]:
    """Delete expired locks in a folder; return their paths, sorted."""
    if not folder.exists():
        return []
    with folder_guard(folder):
        claims = {path: _read_claim(path) for path in sorted(folder.glob("[!.]*"))}
        expired = [
            path for path, claim in claims.items() if claim is None or not claim.is_binding()
        ]
        for path in expired:
            delete_if_present(path)
    return expired


def _read_claim(path: Path) -> LockClaim | None:
    """Return the claim in a lock file; None when there is no file, or a torn one."""
    with suppress(OSError, ValueError, KeyError, TypeError), path.open(encoding="utf-8") as file:
        content = json.load(file)
        renewed_at = os.fstat(file.fileno()).st_mtime
        owner = ProcessId(**content["owner"])
        return LockClaim(content["token"], owner, renewed_at + content["seconds"])
    return None


@contextmanager
def folder_guard(folder: Path) -> Iterator[None]:
    """Exclude other processes from every context guarded by the same folder; create the folder.

    Raises:
        CacheError: The file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".guard", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _flock_exclusive(descriptor, folder)
        try:
            yield
        finally:
            # Closing is not enough: a forked child may share the descriptor, and with it the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _flock_exclusive(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
        raise CacheError(
            f"found a disk without file locks at {str(folder)!r} ({error.strerror}); expected flock to work there; "
            "set ADVTRANSFER_CACHE, or --runs for a run folder, to a folder on another disk"
        ) from error


def _renew_until_done(lock: NodeLock, done: threading.Event) -> None:
    while not done.wait(lock.seconds / 3):
        try:
            lock.renew()
        except CacheError as loss:
            # Builds are deterministic and published at once, so a lost lock costs time and no result.
            logger.warning("%s; both builders get the same result, only time is lost", loss)
            return
        except OSError as error:
            logger.warning("the lock on node %s could not be renewed: %s", lock.path.name, error)
