"""Lock on one node, job or run, held for a limited time and renewed, so that no two processes do the same work.

A lock is a file that names its owner; its mtime is the last renewal. It ends when it is released, when its owner
on this host has died, or when it was not renewed in time. The time limit is for owners that stand still, and for
those on other hosts, whose processes cannot be asked. Ages are read from the file system's own clock: no clock
of a host decides. Every change happens under one ``flock`` of the folder, which the kernel releases when its
holder ends: of several processes that take over an expired lock one succeeds.

Each acquisition has a token that is larger than all before in its folder. A process that stood still and lost its
lock finds another token, and publishes nothing (`HeldLock.guard`).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from advtransfer.cache.lock_renewal import LOCK_RENEWER
from advtransfer.errors import Busy, CacheError, ClaimLost
from advtransfer.files import delete_if_present
from advtransfer.process_id import ProcessId
from advtransfer.types import Json

LEASE_SECONDS = 60.0
"""Seconds for which a lock binds after its last renewal."""

NO_FACTS: Mapping[str, Json] = MappingProxyType({})

GUARD_FILE = ".guard"


@dataclass(frozen=True, slots=True)
class LockClaim:
    """The content of a lock file, and its age.

    Args:
        token: The number of this acquisition.
        owner: The process that holds the lock.
        seconds: How long the lock binds after a renewal.
        age: Seconds since the last renewal, by the clock of the file system.
        facts: What the owner says beside.
    """

    token: int
    owner: ProcessId
    seconds: float
    age: float
    facts: Mapping[str, Json]

    @property
    def seconds_left(self) -> float:
        """The seconds after which the lock ends if its owner does not renew it."""
        return max(0.0, self.seconds - self.age)

    @property
    def is_binding(self) -> bool:
        """Whether the lock still excludes other processes."""
        # `is_alive` is None for an owner on another host: then only the time limit ends the lock.
        return self.seconds_left > 0 and self.owner.is_alive() is not False


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock that this process holds; `hold` renews it in the background."""

    path: Path
    what: str
    token: int
    owner: ProcessId
    seconds: float

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Keep the lock from being taken over while the context is open.

        Raises:
            ClaimLost: Another process has taken it over, because it was not renewed in time.
        """
        if not self.path.parent.is_dir():
            raise self._loss("without its folder")
        with folder_guard(self.path.parent) as guard:
            claim = _read_claim(self.path, guard)
            if not self._is_mine(claim):
                raise self._loss(
                    f"taken over by {describe_owner(claim.owner)}" if claim else "without its lock"
                )
            yield

    def _loss(self, state: str) -> ClaimLost:
        return ClaimLost(
            f"found {self.what} {self.path.name[:12]!r} {state}; expected process {self.owner.pid} to hold it "
            f"still, which did not renew it for more than {self.seconds:.0f} s, or lost the folder"
        )

    def renew(self) -> None:
        """Extend the lock by its full length from now.

        Raises:
            ClaimLost: Another process took it over.
        """
        with self.guard():
            os.utime(self.path)

    def release(self) -> None:
        """Release the lock; do nothing when another process has taken it over, or the folder is gone."""
        if not self.path.exists():
            return
        with folder_guard(self.path.parent) as guard:
            if self._is_mine(_read_claim(self.path, guard)):
                self.path.unlink()

    def _is_mine(self, claim: LockClaim | None) -> bool:
        # The owner too: tokens begin again where somebody has deleted the folder.
        return claim is not None and (claim.token, claim.owner) == (self.token, self.owner)


@contextmanager
def hold(
    path: Path,
    *,
    what: str = "node",
    seconds: float | None = None,
    facts: Mapping[str, Json] = NO_FACTS,
) -> Iterator[HeldLock]:
    """Hold the lock at `path`, and renew it; raise Busy when another process holds it.

    Args:
        path: The lock file.
        what: What is locked, in the words of errors.
        seconds: How long the lock binds after a renewal; `LEASE_SECONDS` by default.
        facts: What others shall read in the lock file.
    """
    lock = acquire(path, what=what, seconds=seconds, facts=facts)
    LOCK_RENEWER.add(lock)
    try:
        yield lock
    finally:
        LOCK_RENEWER.remove(lock)
        lock.release()


def acquire(
    path: Path,
    *,
    what: str = "node",
    seconds: float | None = None,
    facts: Mapping[str, Json] = NO_FACTS,
) -> HeldLock:
    """Take the lock at `path`, also from an owner that has died or is late; raise Busy otherwise."""
    with folder_guard(path.parent) as guard:
        claim = _read_claim(path, guard)
        if claim is not None and claim.is_binding:
            _restart_future_lock(path, claim)
            raise Busy(
                f"found {what} {path.name!r} held by {describe_owner(claim.owner)}; "
                "expected nobody; the job is put back and tried again"
            )
        # The file is stale, or torn: its writer died while it held the folder's guard.
        delete_if_present(path)
        lock = HeldLock(
            path,
            what,
            guard.next_token(above=claim.token if claim else 0),
            ProcessId.current_process(),
            LEASE_SECONDS if seconds is None else seconds,
        )
        content = {
            "token": lock.token,
            "seconds": lock.seconds,
            "owner": asdict(lock.owner),
            "facts": dict(facts),
        }
        with path.open("x", encoding="utf-8") as file:
            json.dump(content, file)
    return lock


def describe_owner(owner: ProcessId) -> str:
    """Return the owner of a lock as messages name it."""
    return f"process {owner.pid} on {owner.host_name!r}"


def binding_lock(path: Path) -> LockClaim | None:
    """Return the lock at `path` if it binds."""
    if not path.exists():
        return None
    with folder_guard(path.parent) as guard:
        claim = _read_claim(path, guard)
    return claim if claim and claim.is_binding else None


def is_held(path: Path) -> bool:
    """Return whether a living process holds the lock at `path`."""
    return binding_lock(path) is not None


def binding_locks(folder: Path) -> dict[Path, LockClaim]:
    """Return the locks in a folder that bind, by path."""
    if not any(folder.glob("[!.]*")):
        return {}
    with folder_guard(folder) as guard:
        claims = {path: _read_claim(path, guard) for path in sorted(folder.glob("[!.]*"))}
    return {path: claim for path, claim in claims.items() if claim and claim.is_binding}


def remove_expired_locks(folder: Path) -> list[Path]:
    """Delete expired locks in a folder; return their paths, sorted."""
    if not folder.exists():
        return []
    with folder_guard(folder) as guard:
        claims = {path: _read_claim(path, guard) for path in sorted(folder.glob("[!.]*"))}
        expired = [path for path, claim in claims.items() if claim is None or not claim.is_binding]
        for path in expired:
            delete_if_present(path)
    return expired


def _read_claim(path: Path, guard: FolderGuard) -> LockClaim | None:
    """Return the claim in a lock file; None when there is no file, or a torn one."""
    with suppress(OSError, ValueError, KeyError, TypeError), path.open(encoding="utf-8") as file:
        content = json.load(file)
        age = guard.now() - os.fstat(file.fileno()).st_mtime
        token = content["token"]
        return LockClaim(
            # Earlier releases wrote random texts.
            token if isinstance(token, int) else 0,
            ProcessId(**content["owner"]),
            float(content["seconds"]),
            age,
            content.get("facts", NO_FACTS),
        )
    return None


def _restart_future_lock(path: Path, claim: LockClaim) -> None:
    """Let a lock that was renewed in the future, before the clock was set back, bind for its length from now."""
    if claim.age < -1:
        with suppress(OSError):  # Another user's.
            os.utime(path)


@dataclass(frozen=True, slots=True)
class FolderGuard:
    """The guard of a folder while it is held: the clock and the counter of the folder's locks."""

    descriptor: int

    def now(self) -> float:
        """Return the time by the clock of the file system, which the mtimes of locks are written by."""
        os.utime(self.descriptor)
        return os.fstat(self.descriptor).st_mtime

    def next_token(self, *, above: int) -> int:
        """Return a number that is larger than all before, and than `above`."""
        last = os.pread(self.descriptor, 32, 0).strip()
        token = max(above, int(last) if last.isdigit() else 0) + 1
        os.pwrite(self.descriptor, f"{token}\n".encode(), 0)
        return token


@contextmanager
def folder_guard(folder: Path) -> Iterator[FolderGuard]:
    """Exclude other processes from every context guarded by the same folder; create the folder.

    Raises:
        CacheError: The file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / GUARD_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _flock_exclusive(descriptor, folder)
        try:
            yield FolderGuard(descriptor)
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
