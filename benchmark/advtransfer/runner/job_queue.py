"""Jobs that are not begun: their order, what they wait for, and which of them a budget leaves.

The first job of those that share expensive values (the features of a source on a target, examples
against it) makes them for the others, which are put off until it has ended. A worker without any
other job does not wait for that.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from advtransfer.node import Node
from advtransfer.planning import JobRequest, Trial
from advtransfer.suite.resources import NO_RESOURCES, Resources


@dataclass(slots=True, eq=False)
class PendingJob:
    """A job that is not finished.

    Args:
        request: Its node and results.
        name: Its name on the console.
        waits_for: Ids of the sources and references that must be built first.
        trials: The trials that use what it makes.
        round: The number of seeds of its cell that come before it; 0 in a run without a budget.
        resources: What its entries, or else the suite, say that it needs.
    """

    request: JobRequest
    name: str
    waits_for: set[str] = field(default_factory=set)
    trials: list[Trial] = field(default_factory=list)
    round: int = 0
    resources: Resources = NO_RESOURCES

    @property
    def id(self) -> str:
        return self.request.node.id

    @property
    def kind(self) -> str:
        return self.request.node.kind

    @property
    def shared_values(self) -> tuple[str, ...] | None:
        """The ids of what it shares cached values over: source, adapter and data; None for no such."""
        inputs = self.request.node.inputs
        source = inputs.get("source")
        if self.kind == "source" or not isinstance(source, Node):
            return None
        part = inputs.get("subset") or inputs.get("test")
        data = part.inputs.get("data") if isinstance(part, Node) else None
        nodes = (source, inputs.get("adapter"), data)
        return tuple(node.id for node in nodes if isinstance(node, Node))


ExpectedSeconds: TypeAlias = "Callable[[PendingJob], float | None]"
"""How long a job is expected to take; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The end of a run, on the scheduler's clock, and how long a job is expected to take."""

    ends: float
    expected_seconds: ExpectedSeconds

    def admits(self, job: PendingJob, *, now: float) -> bool:
        """Return whether a job that begins now is expected to end in time."""
        return now + (self.expected_seconds(job) or 0.0) < self.ends


BUSY_RETRY_SECONDS = 1.0
"""Seconds until a busy job is submitted again, if no other job ends before."""


class JobQueue:
    """The jobs that are not begun, handed out in the order in which they are given.

    Args:
        jobs: The jobs; those that wait for a source are handed out after `release`.
        budget: The end of the run; jobs that it does not admit are counted in `left_over`, and those of
            a later round begin when none of an earlier round is left to begin.
    """

    def __init__(self, jobs: Sequence[PendingJob], *, budget: Budget | None = None) -> None:
        self.budget = budget
        self.left_over: list[PendingJob] = []
        self._position = {job.id: position for position, job in enumerate(jobs)}
        self._ready: list[tuple[int, PendingJob]] = []
        self._waiting: dict[str, list[PendingJob]] = defaultdict(list)
        self._requeued: list[tuple[float, PendingJob]] = []
        self._put_off: dict[tuple[str, ...], list[PendingJob]] = defaultdict(list)
        self._being_made: dict[tuple[str, ...], str] = {}
        self._made: set[tuple[str, ...]] = set()
        self._to_begin = Counter(job.round for job in jobs)
        for job in jobs:
            for source in job.waits_for:
                self._waiting[source].append(job)
            if not job.waits_for:
                self._push(job)

    def __bool__(self) -> bool:
        # Jobs that wait for a source do not count: with none in flight, nothing would release them.
        return bool(self._ready or self._requeued or self._put_off)

    def waits_for(self, source: str) -> bool:
        """Return whether any job waits for a source."""
        return bool(self._waiting.get(source))

    def only_busy_jobs(self) -> list[PendingJob]:
        """Return the jobs that were put back as busy, if no other job can begin; else nothing."""
        return [] if self._ready or self._put_off else [job for _, job in self._requeued]

    def add(self, job: PendingJob) -> None:
        """Add a job that can begin, such as the rest of one whose worker died."""
        self._to_begin[job.round] += 1
        self._push(job)

    def take(self, *, now: float, idle: bool) -> PendingJob | None:
        """Return the job to begin now, or None.

        Args:
            now: The time on the clock of the budget.
            idle: True if a worker has no job: then it need not wait for values that another job makes.
        """
        self._push_due(now)
        while job := self._next_job(idle=idle):
            if self.budget is not None and not self.budget.admits(job, now=now):
                self._leave(job)
                continue
            if self._is_of_later_round(job):
                self._push(job)
                return None
            self._to_begin[job.round] -= 1
            if (key := job.shared_values) is not None and key not in self._made:
                self._being_made.setdefault(key, job.id)
            return job
        return None

    def requeue(self, job: PendingJob, *, now: float) -> None:
        """Put back a job that was busy: another worker is making what it needs."""
        self._to_begin[job.round] += 1
        self._requeued.append((now + BUSY_RETRY_SECONDS, job))

    def end(self, job: PendingJob, *, now: float) -> None:
        """Count a job as ended: what it shares with others is made, and busy jobs may begin."""
        key = job.shared_values
        if key is not None and self._being_made.get(key) == job.id:
            del self._being_made[key]
            self._made.add(key)
            for other in self._put_off.pop(key, ()):
                self._push(other)
        # What they waited for may have been made by this job.
        self._requeued = [(min(due, now), other) for due, other in self._requeued]

    def release(self, source: str, *, built: bool) -> list[PendingJob]:
        """Let the jobs begin that waited for a source; return them if it was not built instead."""
        waiting = self._waiting.pop(source, [])
        if not built:
            return self._drop(waiting)
        for job in waiting:
            job.waits_for.discard(source)
            if not job.waits_for:
                self._push(job)
        return []

    def _drop(self, jobs: Iterable[PendingJob]) -> list[PendingJob]:
        """Forget jobs that cannot begin, once each; return them."""
        dropped = list(jobs)
        for job in dropped:
            self._to_begin[job.round] -= 1
            for source in job.waits_for & self._waiting.keys():
                self._waiting[source] = [one for one in self._waiting[source] if one is not job]
        return dropped

    def _leave(self, job: PendingJob) -> None:
        """Leave a job to a later run, with the jobs that wait for it."""
        self._to_begin[job.round] -= 1
        self.left_over += [job, *self._drop(self._waiting.pop(job.id, []))]

    def _push(self, job: PendingJob) -> None:
        heapq.heappush(self._ready, (self._position[job.id], job))

    def _push_due(self, now: float) -> None:
        for due, job in self._requeued:
            if due <= now:
                self._push(job)
        self._requeued = [(due, job) for due, job in self._requeued if due > now]

    def _next_job(self, *, idle: bool) -> PendingJob | None:
        """Return the first ready job whose shared values no other job is making, if there is one."""
        while self._ready:
            _, job = heapq.heappop(self._ready)
            key = job.shared_values
            if key is None or self._being_made.get(key, job.id) == job.id:
                return job
            self._put_off[key].append(job)
        if not idle or not self._put_off:
            return None
        key = min(self._put_off, key=lambda key: self._position[self._put_off[key][0].id])
        job = self._put_off[key].pop(0)
        if not self._put_off[key]:
            del self._put_off[key]
        return job

    def _is_of_later_round(self, job: PendingJob) -> bool:
        """Return whether a job must wait until every job of earlier rounds has begun.

        Sources of later rounds may be built meanwhile: they add no second seed to a cell.
        """
        if job.kind == "source":
            return False
        return any(count > 0 for round, count in self._to_begin.items() if round < job.round)
