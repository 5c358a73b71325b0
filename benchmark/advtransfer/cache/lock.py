"""Lock on one node, held for a limited time, so that two workers do not build the same node at once.

A lock is a file created with O_EXCL that names its owner; its mtime is the last renewal. It ends when it is released,
when its owner on this host is dead, or when it was not renewed in time. Every change happens under one ``flock`` of the
folder, which the kernel drops with its holder: of several processes that take over an expired lock exactly one wins.
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
from advtransfer.files import ProcessId, delete_if_present

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LockClaim:
    """What a lease file says: who holds it, until when (unix seconds), and the token of this one acquisition."""

    token: str
    owner: ProcessId
    until: float

    def is_binding(self) -> bool:
        """Whether the lease still binds others."""
        return self.owner.is_alive() is not False and time.time() < self.until


@dataclass(frozen=True, slots=True)
class NodeLock:
    """A lease that this process holds; `hold` renews it in the background."""

    path: Path
    token: str
    seconds: float

    def renew(self) -> None:
        """Prolong the lease by its length from now.

        Raises:
            CacheError: Somebody took it over, because it had not been renewed in time.
        """
        with folder_guard(self.path.parent):
            if not self._is_mine():
                raise CacheError(
                    f"found the lease {self.path.name!r} taken over; expected it to be held by this process"
                )
            os.utime(self.path)

    def release(self) -> None:
        """Give the lease back; nothing happens when somebody has taken it over."""
        with folder_guard(self.path.parent):
            if self._is_mine():
                self.path.unlink()

    def _is_mine(self) -> bool:
        claim = _read_claim(self.path)
        return claim is not None and claim.token == self.token


@contextmanager
def hold(path: Path, *, seconds: float) -> Iterator[NodeLock]:
    """Hold the lease at `path`, renewed every third of `seconds`; raises Busy when somebody alive holds it."""
    lease = acquire(path, seconds=seconds)
    done = threading.Event()
    keeper = threading.Thread(
        target=_renew_until_done, args=(lease, done), name=f"lease-{path.name[:8]}", daemon=True
    )
    keeper.start()
    try:
        yield lease
    finally:
        done.set()
        keeper.join()
        lease.release()


def acquire(path: Path, *, seconds: float) -> NodeLock:
    """Take the lease at `path` once, or take it over from an owner who is dead or late; raises Busy otherwise."""
    lease = NodeLock(path, secrets.token_hex(16), seconds)
    with folder_guard(path.parent):
        claim = _read_claim(path)
        if claim is not None and claim.is_binding():
            owner = claim.owner
            raise Busy(
                f"found node {path.name!r} being built by process {owner.pid} on {owner.host.split()[0]!r}; "
                "expected nobody; the job is put back and tried again"
            )
        delete_if_present(path)  # stale, or torn: its writer died under the guard
        with path.open("x", encoding="utf-8") as file:
            json.dump(
                {
                    "token": lease.token,
                    "seconds": seconds,
                    "owner": asdict(ProcessId.current_process()),
                },
                file,
            )
    return lease


def is_held(path: Path) -> bool:
    """Whether somebody alive holds the lease at `path`; one that is being written counts as held."""
    claim = _read_claim(path)
    return path.exists() if claim is None else claim.is_binding()


def remove_expired_locks(folder: Path) -> list[Path]:
    """Delete leases that bind nobody any more; returns what was deleted, sorted."""
    if not folder.exists():
        return []
    with folder_guard(folder):
        claims = {path: _read_claim(path) for path in sorted(folder.glob("[!.]*"))}
        stale = [path for path, claim in claims.items() if claim is None or not claim.is_binding()]
        for path in stale:
            delete_if_present(path)
    return stale


def _read_claim(path: Path) -> LockClaim | None:
    """The claim in a lease file; None when there is none, or when it was torn."""
    with suppress(OSError, ValueError, KeyError, TypeError), path.open(encoding="utf-8") as file:
        said = json.load(file)
        return LockClaim(
            said["token"],
            ProcessId(**said["owner"]),
            os.fstat(file.fileno()).st_mtime + said["seconds"],
        )
    return None


@contextmanager
def folder_guard(folder: Path) -> Iterator[None]:
    """Inside, no other process is in a section guarded by this folder, which is made.

    Raises:
        CacheError: The disk has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".guard", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _flock_exclusive(descriptor, folder)
        try:
            yield
        finally:
            fcntl.flock(
                descriptor, fcntl.LOCK_UN
            )  # closing is not enough: a forked child may share the descriptor
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


def _renew_until_done(lease: NodeLock, done: threading.Event) -> None:
    while not done.wait(lease.seconds / 3):
        try:
            lease.renew()
        except CacheError as lost:
            logger.warning("%s; the result of both builders is the same, only time is lost", lost)
            return
        except OSError as error:
            logger.warning("the lease %s could not be renewed: %s", lease.path.name, error)
