"""The thread that renews the locks of this process; to start one for each lock takes longer than a small job."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Protocol

from advtransfer.errors import CacheError, ClaimLost

logger = logging.getLogger(__name__)

RENEWALS = 6
"""Renewals within one lease: one every 10 s of a minute."""

IDLE_SECONDS = 10.0
"""Seconds between two looks while no lock is held."""


class RenewableLock(Protocol):
    """A lock that ends some seconds after its last renewal (`advtransfer.cache.lock.HeldLock`)."""

    @property
    def path(self) -> Path:
        """The lock file."""

    @property
    def what(self) -> str:
        """What is locked, in the words of messages."""

    @property
    def seconds(self) -> float:
        """How long the lock binds after a renewal."""

    def renew(self) -> None:
        """Extend the lock by its full length; raise ClaimLost when another process took it over."""


class LockRenewer:
    """Renews locks from `add` to `remove`, in one thread that starts with the first of them."""

    def __init__(self) -> None:
        """Begin without locks."""
        self._due: dict[RenewableLock, float] = {}
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._next_look = 0.0

    def add(self, lock: RenewableLock) -> None:
        """Renew a lock from now on."""
        with self._condition:
            self._due[lock] = _next_renewal(lock)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_locks, name="locks", daemon=True)
                self._thread.start()
            elif self._due[lock] < self._next_look:
                # A lock of usual length is due after the next look: the thread need not wake for it.
                self._condition.notify()

    def remove(self, lock: RenewableLock) -> None:
        """Renew a lock no more."""
        with self._condition:
            self._due.pop(lock, None)

    def forget_parent(self) -> None:
        """Begin again in a forked child, which has neither the thread nor the locks of its parent."""
        LockRenewer.__init__(self)

    def _renew_locks(self) -> None:
        while True:
            for lock in self._wait_for_due():
                self._renew(lock)

    def _wait_for_due(self) -> list[RenewableLock]:
        """Wait until the first lock is due, or another is added that is due earlier; return those due."""
        with self._condition:
            self._next_look = min(self._due.values(), default=time.monotonic() + IDLE_SECONDS)
            self._condition.wait(max(0.0, self._next_look - time.monotonic()))
            now = time.monotonic()
            return [lock for lock, due in self._due.items() if due <= now]

    def _renew(self, lock: RenewableLock) -> None:
        """Renew a lock, without the condition: other locks come and go while a disk is slow."""
        try:
            lock.renew()
        except ClaimLost as loss:
            with self._condition:
                was_held = self._due.pop(lock, None) is not None
            # Artifacts are deterministic and published at once; records are held to the lock (`HeldLock.guard`).
            if was_held:
                logger.warning("%s; only time is lost", loss)
            return
        except (CacheError, OSError) as error:
            logger.warning(
                "the lock on %s %s was not renewed: %s", lock.what, lock.path.name, error
            )
        with self._condition:
            if lock in self._due:
                self._due[lock] = _next_renewal(lock)


def _next_renewal(lock: RenewableLock) -> float:
    return time.monotonic() + lock.seconds / RENEWALS


LOCK_RENEWER = LockRenewer()
"""The renewer of all locks that this process holds."""

os.register_at_fork(after_in_child=LOCK_RENEWER.forget_parent)
