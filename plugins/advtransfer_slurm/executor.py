"""Executor whose workers are tasks of Slurm and share a spool folder with the driver."""

from __future__ import annotations

import math
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from advtransfer.errors import BadInput
from advtransfer.jobs import STOPPED_REASON, Job, Report
from advtransfer.types import Json
from advtransfer_slurm.spool import MessageReader, Spool, touch_file
from advtransfer_slurm.worker import SpoolWorker
from advtransfer_slurm.worker_array import WorkerArray

SPOOL_NAME = "spool"
"""Folder in the run folder that holds one folder for each driver."""

BEAT_SECONDS = 10.0
"""Seconds between two signs of life, of the driver and of each worker."""

LEASE_SECONDS = 60.0
"""Seconds without a sign of life after which a worker or a driver counts as dead."""

POLL_SECONDS = 0.25
"""Seconds between two looks at the workers' messages."""

MAX_STARTS = 3
"""Number of workers that may die of a job until it counts as lost, and of ends without any job done for each task."""

SECONDS_TO_END = 10.0
"""Seconds that the driver waits for workers which it told to end."""


@dataclass(slots=True)
class _OpenJob:
    """A job without a report."""

    job: Job
    future: Future[Report]
    deaths: int = 0


class SpoolExecutor:
    """Starts `jobs` workers with the first job, and one for each that ended; gives a dead worker's job to another.

    A job may then run twice. That is safe: it is locked while it runs, and finds its records where it is done.
    """

    def __init__(self, *, jobs: int, array: WorkerArray, memory_limit: int | None = None) -> None:
        self.jobs = jobs
        self.array = array
        self.memory_limit = memory_limit
        self._spool: Spool | None = None
        self._open_jobs: dict[str, _OpenJob] = {}
        self._readers: dict[int, MessageReader] = {}
        self._news: queue.SimpleQueue[Mapping[str, Json]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._watcher: threading.Thread | None = None
        self._submitted = 0
        self._started = 0
        self._fruitless_ends = 0
        self._failure: str | None = None

    @property
    def slots(self) -> int:
        return self.jobs

    @contextmanager
    def start(self) -> Iterator[SpoolExecutor]:
        self._ending.clear()
        try:
            yield self
        finally:
            self.stop(grace=0)

    def submit(self, job: Job) -> Future[Report]:
        future: Future[Report] = Future()
        if self._ending.is_set() or self._failure is not None:
            future.set_result(Report.lost(job, self._failure or STOPPED_REASON))
            return future
        spool = self._spool or self._open_spool(job)
        self._submitted += 1
        name = f"{self._submitted:08d}"
        with self._lock:
            self._open_jobs[name] = _OpenJob(job, future)
        spool.put_job(name, job)
        return future

    def news(self) -> Iterator[Mapping[str, Json]]:
        while True:
            try:
                yield self._news.get_nowait()
            except queue.Empty:
                return

    def stop(self, *, grace: float) -> None:
        """Report waiting jobs as lost, give running ones `grace` seconds to end, then cancel the workers.

        Ending a worker is safe, since a record is written at once or not at all.
        """
        if self._spool is None or self._watcher is None:
            return
        for name in [*self._open_jobs]:
            if self._spool.withdraw_job(name):
                self._report_lost(name, STOPPED_REASON)
        wait([open_job.future for open_job in [*self._open_jobs.values()]], timeout=grace)
        self._ending.set()
        self._watcher.join()
        for name in [*self._open_jobs]:
            self._report_lost(name, STOPPED_REASON)
        self._end_workers(self._spool)
        self._spool = None

    def _open_spool(self, job: Job) -> Spool:
        """Make the spool folder in the run folder of the first job, and start the workers.

        Raises:
            BadInput: Slurm refuses them.
        """
        folder = job.run / SPOOL_NAME
        remove_dead_spools(folder)
        spool = Spool(folder / secrets.token_hex(6))
        spool.create()
        self._spool = spool
        try:
            self._start_workers(spool, self.jobs, job)
        except BadInput:
            self._spool = None
            shutil.rmtree(spool.path, ignore_errors=True)
            raise
        self._watcher = threading.Thread(target=self._watch_workers, args=(spool, job), daemon=True)
        self._watcher.start()
        return spool

    def _start_workers(self, spool: Spool, count: int, job: Job) -> None:
        numbers = range(self._started, self._started + count)
        worker = SpoolWorker(
            spool.path, self.array.threads, self.memory_limit, BEAT_SECONDS, LEASE_SECONDS
        )
        gpus = math.ceil(job.gpus)
        self.array.start_tasks(worker, numbers, logs=spool.path / "logs", gpus=gpus)
        self._started += count
        for number in numbers:
            self._readers[number] = MessageReader(spool.worker(number))

    def _watch_workers(self, spool: Spool, job: Job) -> None:
        """Deliver news and reports until the executor ends; keep the number of living workers."""
        last_beat = last_success = time.monotonic()
        while not self._ending.wait(POLL_SECONDS):
            try:
                self._read_messages()
                if time.monotonic() - last_beat > BEAT_SECONDS:
                    last_beat = time.monotonic()
                    self._take_from_silent_workers(spool)
                    self._replace_ended_workers(spool, job)
            except OSError as error:  # A file server may be away for a while.
                if time.monotonic() - last_success > LEASE_SECONDS:
                    self._fail(f"the spool folder cannot be used: {error}")
                    return
            except (
                Exception
            ) as error:  # The runner waits for the futures, so they must get reports.
                self._fail(f"the executor failed: {type(error).__name__}: {error}")
                raise
            else:
                last_success = time.monotonic()

    def _read_messages(self) -> None:
        for reader in [*self._readers.values()]:
            for message in reader.read_messages():
                self._take_message(message)

    def _take_message(self, message: Mapping[str, Json]) -> None:
        if "news" in message:
            self._news.put(message["news"])  # type: ignore[arg-type]  # a worker writes an object
            return
        self._fruitless_ends = 0
        self._deliver_report(str(message["job"]), Report.from_json(message["report"]))  # type: ignore[arg-type]  # the same

    def _take_from_silent_workers(self, spool: Spool) -> None:
        now = spool.touch_driver()
        for number, reader in [*self._readers.items()]:
            if reader.written is not None and now - reader.written > LEASE_SECONDS:
                self._take_jobs_back(spool, number, f"silent for {now - reader.written:.0f} s")

    def _replace_ended_workers(self, spool: Spool, job: Job) -> None:
        """Start a worker for each task that has ended, and give its job to another."""
        for number, last_line in self.array.ended_tasks().items():
            for message in self._readers.pop(number).read_messages():
                self._take_message(message)
            self._take_jobs_back(spool, number, last_line)
            self._fruitless_ends += 1
            if self._fruitless_ends >= MAX_STARTS * self.jobs:
                self._fail(
                    f"{self._fruitless_ends} workers ended before they did a job ({last_line})"
                )
                return
            try:
                self._start_workers(spool, 1, job)
            except BadInput as error:
                self._fail(str(error))
                return

    def _take_jobs_back(self, spool: Spool, number: int, how: str) -> None:
        for name in spool.return_jobs(number):
            open_job = self._open_jobs.get(name)
            if open_job is None:
                spool.withdraw_job(name)
                continue
            open_job.deaths += 1
            if open_job.deaths >= MAX_STARTS and spool.withdraw_job(name):
                self._report_lost(name, f"its worker died {MAX_STARTS} times ({how})")

    def _fail(self, reason: str) -> None:
        """Report all jobs as lost, those of later calls too: no worker can be had."""
        self._failure = reason
        for name in [*self._open_jobs]:
            self._report_lost(name, reason)

    def _report_lost(self, name: str, reason: str) -> None:
        open_job = self._open_jobs.get(name)
        if open_job is not None:
            self._deliver_report(name, Report.lost(open_job.job, reason))

    def _deliver_report(self, name: str, report: Report) -> None:
        """Deliver the first report of a job; two workers may have performed it."""
        with self._lock:
            open_job = self._open_jobs.pop(name, None)
        if open_job is not None:
            open_job.future.set_result(report)

    def _end_workers(self, spool: Spool) -> None:
        spool.close()
        queued = {number for number, reader in self._readers.items() if reader.written is None}
        self.array.cancel_tasks(queued)
        self.array.wait_for_end(SECONDS_TO_END)
        shutil.rmtree(spool.path, ignore_errors=True)
        with suppress(OSError):  # Another driver has a folder there.
            spool.path.parent.rmdir()


def remove_dead_spools(folder: Path) -> None:
    """Remove the spool folders of killed drivers; workers that still serve one then end.

    A folder whose driver has lived within the lease stays: it may be that of another driver.
    """
    for path in folder.glob("*"):
        # It may be one that is being made or removed.
        with suppress(FileNotFoundError):
            if touch_file(folder) - Spool(path).driver_time() > LEASE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
