"""One task of the array: it takes jobs from the spool folder, one after the other, until there are no more."""

from __future__ import annotations

import math
import time
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer.errors import AdvTransferError
from advtransfer.exchange import Refusal, job_for_worker
from advtransfer.executors import pool
from advtransfer.jobs import Executor, Job
from advtransfer_slurm.spool import Spool

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

POLL_SECONDS = 1.0
"""Seconds between two looks of a worker at whether the driver still wants it."""

IDLE_SECONDS = 0.5
"""Seconds between two looks at an empty spool."""


@dataclass(frozen=True, slots=True)
class SpoolWorker:
    """A function that Slurm calls in each task: ``worker(number)`` serves the spool as worker `number`.

    The jobs run in a child process, which is replaced when it dies, so that this process always shows that it lives,
    whatever a plugin does.

    Args:
        spool: The spool folder.
        threads: CPU threads of a job.
        memory_limit: Bytes that a job may use; None for no limit.
        beat: Seconds between two signs of life.
        lease: Seconds without a sign of life after which the driver counts as dead.
    """

    spool: Path
    threads: int
    memory_limit: int | None
    beat: float
    lease: float

    def __call__(self, number: int) -> None:
        """Perform jobs until the driver has closed the spool, or is dead."""
        own = pool(jobs=1, threads=self.threads, memory_limit=self.memory_limit)
        with own.start() as engine:
            serve_spool(self, number, engine)

    def checkpoint(self, number: int) -> DelayedSubmission:
        """Return what a task that is preempted does when it runs again: the same, beginning with its last job."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self, number)


def serve_spool(worker: SpoolWorker, number: int, engine: Executor) -> None:
    """Perform the jobs of a spool by an executor until the driver wants no more."""
    # The driver of a run that has ended removes the folder.
    with suppress(FileNotFoundError):
        _SpoolServer(worker, number, engine).serve()


class _SpoolServer:
    def __init__(self, worker: SpoolWorker, number: int, engine: Executor) -> None:
        self.worker = worker
        self.number = number
        self.spool = Spool(worker.spool)
        self.desk = self.spool.worker(number)
        self.engine = engine
        self.last_beat = -math.inf

    def serve(self) -> None:
        self.desk.open()
        while self._is_wanted():
            taken = self.desk.take_job()
            if taken is None:
                time.sleep(IDLE_SECONDS)
                continue
            name, job = taken
            future = self.engine.submit(self._accept(job))
            while not wait([future], timeout=POLL_SECONDS).done:
                self.desk.write_messages({"news": dict(item)} for item in self.engine.news())
                if not self._is_wanted():
                    return
            self.desk.finish_job(name, future.result(), self.engine.news())

    def _accept(self, job: Job) -> Job:
        """Return a job with this machine's environment; leave it to others where that is not the run's.

        Raises:
            AdvTransferError: This machine may not do jobs of this run; says why.
        """
        accepted = job_for_worker(job)
        if not isinstance(accepted, Refusal):
            return accepted
        reason = (
            f"{accepted.host} differs from the driver's machine ({accepted.reason}) and gets no job; install the "
            "same there, choose nodes with --engine constraint=NAME, or allow a mixture with --mixed"
        )
        news = {"event": "warning", "id": job.id, "name": "", "text": reason}
        self.desk.write_messages([{"news": news}])
        self.spool.return_jobs(self.number)
        raise AdvTransferError(reason)

    def _is_wanted(self) -> bool:
        """Return whether the driver lives and asks for more; show meanwhile that this worker lives."""
        if not self.spool.is_open():
            return False
        if time.monotonic() - self.last_beat < self.worker.beat:
            return True
        self.last_beat = time.monotonic()
        return self.desk.touch_messages() - self.spool.driver_time() < self.worker.lease
