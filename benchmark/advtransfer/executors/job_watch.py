"""Watch over one job in a worker: its limits of time and memory, and a worker that does not answer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from advtransfer.executors import process_tree
from advtransfer.jobs import Job
from advtransfer.text import format_bytes, format_duration
from advtransfer.types import Json

STOPPED_GRACE = 1.0
"""Seconds after a step's limit until its worker is killed if a signal has stopped it.

Others end themselves, see `advtransfer.worker.time_limit`."""

SILENT_GRACE = 60.0
"""Seconds after a step's limit until its worker is killed in any case.

It imports libraries, which does not count, or a plugin has cancelled its alarm. The start of a worker, up
to its first step, has as long."""

MEMORY_CHECK_SECONDS = 0.05
STOPPED_CHECK_SECONDS = 5.0
STOPPED_TOLD_SECONDS = 10.0
"""Seconds after which a worker that a signal has stopped is told."""


class JobWatch:
    """Watch over one job in one worker.

    Args:
        job: The job.
        pid: The worker's process.
        memory_limit: The bytes that the worker may use with its children; None for no limit.
    """

    def __init__(self, job: Job, pid: int, *, memory_limit: int | None) -> None:
        self.job = job
        self.pid = pid
        self.memory_limit = memory_limit
        self.step = ""
        self.step_id = ""
        self.limit = job.seconds
        now = time.monotonic()
        self.deadline = math.inf if self.limit is None else now + self.limit
        self.next_memory_check = now if memory_limit is not None else math.inf
        self.next_stopped_check = now + STOPPED_CHECK_SECONDS
        self.stopped_since: float | None = None
        self.is_told = False

    @property
    def poll_seconds(self) -> float:
        """Seconds after which the limits must be looked at again."""
        return MEMORY_CHECK_SECONDS if self.memory_limit is not None else 0.25

    def note_news(self, news: Mapping[str, Json]) -> None:
        """Take the begin of a step from a message of the worker."""
        if news.get("event") != "step_started":
            return
        self.step = str(news["use"])
        self.step_id = str(news["step"])
        self.limit = self.job.seconds_of(self.step_id)
        self.deadline = math.inf if self.limit is None else time.monotonic() + self.limit

    def time_fault(self) -> str | None:
        """Return the reason to stop the job for its time limit; None where it keeps it."""
        late = time.monotonic() - self.deadline
        if late < STOPPED_GRACE or self.limit is None:
            return None
        is_stopped = process_tree.is_stopped(self.pid)
        if not is_stopped and late < SILENT_GRACE:
            return None
        state = "; a signal had stopped its worker" if is_stopped else ""
        return f"stopped {self._place()} at its time limit of {format_duration(self.limit)}{state}"

    def memory_fault(self) -> str | None:
        """Return the reason to stop the job for its memory; None where it keeps the limit."""
        now = time.monotonic()
        if self.memory_limit is None or now < self.next_memory_check:
            return None
        self.next_memory_check = now + MEMORY_CHECK_SECONDS
        used = process_tree.memory_in_use(self.pid, limit=self.memory_limit)
        if used <= self.memory_limit:
            return None
        return (
            f"stopped {self._place()}: its worker used {format_bytes(used)} of memory, "
            f"more than the limit of {format_bytes(self.memory_limit)}"
        )

    def stopped_warning(self) -> str | None:
        """Return a text, once, where a signal has stopped the worker for a while."""
        now = time.monotonic()
        if now < self.next_stopped_check:
            return None
        self.next_stopped_check = now + STOPPED_CHECK_SECONDS
        if not process_tree.is_stopped(self.pid):
            self.stopped_since = None
            self.is_told = False
            return None
        self.stopped_since = self.stopped_since or now
        if self.is_told or now - self.stopped_since < STOPPED_TOLD_SECONDS - STOPPED_CHECK_SECONDS:
            return None
        self.is_told = True
        name = self.job.asked_by.get("name") or self.job.id[:12]
        return (
            f"a signal has stopped the worker {self.pid} {self._place()} ({name}): `kill -CONT {self.pid}` lets it "
            f"go on, `kill -KILL {self.pid}` has the job tried again; `--timeout` ends such a wait"
        )

    def _place(self) -> str:
        return f"in {self.step}" if self.step else "before its first step"
