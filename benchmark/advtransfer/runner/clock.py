"""The clock of a scheduler: the time, and the wait for the next job that ends."""

from __future__ import annotations

import time
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Protocol, TypeAlias

from advtransfer.jobs import Report

Finished: TypeAlias = "SimpleQueue[Future[Report]]"
"""Futures that are done, in the order in which they ended."""


class Clock(Protocol):
    """What a scheduler knows of time; a simulation has another one than a run."""

    def now(self) -> float:
        """Return the time in seconds since some moment."""

    def wait(self, finished: Finished, *, seconds: float) -> Future[Report] | None:
        """Return the next future that is done, or None if there is none within `seconds`."""


class SystemClock:
    """The clock of this machine, which a change of its date does not move."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, finished: Finished, *, seconds: float) -> Future[Report] | None:
        try:
            return finished.get(timeout=seconds) if seconds > 0 else finished.get_nowait()
        except Empty:
            return None
