"""Simulated run: the scheduler of a run, with a clock that jumps to the next end of a job.

Nothing is built and nothing is written; every job ends after the seconds that it is said to take.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from advtransfer.jobs import Job, Report
from advtransfer.result import Run
from advtransfer.runner.clock import Finished
from advtransfer.runner.job_queue import PendingJob
from advtransfer.runner.schedule import JobScheduler, JobTemplate
from advtransfer.runner.settings import RunSettings
from advtransfer.types import Json


@dataclass(slots=True)
class SimulatedWorkers:
    """Executor and clock of a simulation: workers that take jobs in the order of their submission.

    Args:
        slots: The number of workers.
        seconds: Returns how long the job of an id takes.
        begun: The moment at which each job began, by id.
    """

    slots: int
    seconds: Callable[[str], float]
    begun: dict[str, float] = field(default_factory=dict)
    _now: float = 0.0
    _running: list[tuple[float, int, Job, Future[Report]]] = field(default_factory=list)
    _queued: deque[tuple[Job, Future[Report]]] = field(default_factory=deque)

    @contextmanager
    def start(self) -> Iterator[SimulatedWorkers]:
        yield self

    def submit(self, job: Job) -> Future[Report]:
        future: Future[Report] = Future()
        self._queued.append((job, future))
        self._begin_jobs()
        return future

    def news(self) -> Iterator[Mapping[str, Json]]:
        yield from ()

    def stop(self, *, grace: float) -> None:
        """Do nothing: nobody interrupts a simulation."""

    def now(self) -> float:
        return self._now

    def wait(self, finished: Finished, *, seconds: float) -> Future[Report] | None:
        """Return the next job that ends; the clock jumps to its end, however far that is."""
        if finished.empty() and seconds > 0 and self._running:
            self._now, _, job, future = heapq.heappop(self._running)
            future.set_result(Report(job.id, "done", (), None))
            self._begin_jobs()
        return None if finished.empty() else finished.get()

    def _begin_jobs(self) -> None:
        while self._queued and len(self._running) < self.slots:
            job, future = self._queued.popleft()
            self.begun[job.id] = self._now
            end = self._now + self.seconds(job.id)
            heapq.heappush(self._running, (end, len(self.begun), job, future))


class SilentReports:
    """Reports of a simulation: nothing is told and no job has anything left."""

    def relay_news(self, news: Iterable[Mapping[str, Json]]) -> None:
        """Drop what workers have sent."""

    def report_end(self, job: PendingJob, report: Report) -> PendingJob | None:
        return None

    def report_trials(self, job: PendingJob, report: Report) -> None:
        """Tell nothing."""

    def report_source(self, source: PendingJob, report: Report, *, awaited: bool) -> None:
        """Tell nothing."""


def simulated_seconds(
    jobs: Sequence[PendingJob], *, workers: int, seconds: Mapping[str, float]
) -> float:
    """Return how long a number of workers takes for jobs, in the order in which they are given.

    Args:
        jobs: The jobs, as `pending_jobs` returns them; what they wait for is not changed.
        workers: The number of workers.
        seconds: How long each job takes, by id.
    """
    simulated = SimulatedWorkers(workers, seconds.__getitem__)
    nowhere = Path()
    template = JobTemplate("", {}, RunSettings(cache=nowhere), nowhere)
    copies = [
        PendingJob(job.request, job.name, set(job.waits_for), round=job.round) for job in jobs
    ]
    scheduler = JobScheduler(
        copies, simulated, template, Run(nowhere), SilentReports(), clock=simulated
    )
    scheduler.run_jobs(grace=0)
    return simulated.now()
