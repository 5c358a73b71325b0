"""Executor that runs jobs in reused worker processes of this machine: the worker's and the runner's side.

A worker that dies, at any moment, fails its own job only.
"""

from __future__ import annotations

import json
import math
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from multiprocessing.connection import Connection

from advtransfer.executors.worker_process import WorkerProcess, begin_worker
from advtransfer.jobs import Job, Report
from advtransfer.types import Json
from advtransfer.worker import perform_job


def serve_jobs(wire: Connection, driver: int) -> None:
    """Run jobs from the connection until the runner closes it."""
    begin_worker(driver)
    guard = threading.Lock()

    def send(message: Mapping[str, object]) -> None:
        text = json.dumps(message).encode()
        with guard:  # A plugin's threads may report progress at the same time.
            wire.send_bytes(text)

    def send_news(news: Mapping[str, Json]) -> None:
        send({"news": news})

    with suppress(EOFError, OSError):  # The runner has closed the connection.
        while True:
            job: Job = wire.recv()
            send({"report": asdict(perform_job(job, send_news))})


def report_from_json(message: Mapping[str, Json]) -> Report:
    """Return the report in a message of `serve_jobs`."""
    fields = dict(message)
    records = fields.pop("records")
    return Report(**fields, records=tuple(records))  # type: ignore[arg-type]  # JSON that `asdict` of a report gave


MAX_STARTS = 3
"""Number of starts after which a job counts as lost; a worker can die for another reason than its job."""

STOPPED_REASON = "the run was stopped"

POLL_SECONDS = 0.25
"""Seconds between two checks of a silent worker, whose children can keep the pipe open when it is dead."""


class ProcessPool:
    """A pool of spawned workers, each with a thread that sends it jobs, reads its messages and replaces it.

    Workers share no lock and no pipe, so a killed worker cannot block the others.
    """

    def __init__(self, *, jobs: int, threads: int) -> None:
        self.jobs = jobs
        self.threads = threads
        self._waiting: queue.SimpleQueue[tuple[Job, Future[Report]] | None] = queue.SimpleQueue()
        self._worker_news: queue.SimpleQueue[Mapping[str, Json]] = queue.SimpleQueue()
        self._running: set[Future[Report]] = set()
        self._worker_threads: list[threading.Thread] = []
        self._state_lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def slots(self) -> int:
        return self.jobs

    @contextmanager
    def start(self) -> Iterator[ProcessPool]:
        self._stopping.clear()
        self._worker_threads = [
            threading.Thread(target=self._serve_worker, daemon=True) for _ in range(self.jobs)
        ]
        for thread in self._worker_threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop(grace=0)

    def submit(self, job: Job) -> Future[Report]:
        future: Future[Report] = Future()
        if not self._worker_threads:
            future.set_result(_stopped_report(job))
            return future
        with self._state_lock:
            self._running.add(future)
        self._waiting.put((job, future))
        return future

    def news(self) -> Iterator[Mapping[str, Json]]:
        while True:
            try:
                yield self._worker_news.get_nowait()
            except queue.Empty:
                return

    def stop(self, *, grace: float) -> None:
        """Report waiting jobs as lost, give running ones `grace` seconds to end, then kill them.

        Killing is safe, since a record is written at once or not at all.
        """
        while (waiting := self._next_waiting()) is not None:
            job, future = waiting
            self._deliver_report(future, _stopped_report(job))
        with self._state_lock:
            running = list(self._running)
        wait(running, timeout=grace)
        self._stopping.set()
        for _ in self._worker_threads:
            self._waiting.put(None)
        for thread in self._worker_threads:
            thread.join()
        self._worker_threads = []

    def _serve_worker(self) -> None:
        """Run jobs in one worker after the other until the pool stops."""
        # On Linux a worker gets its parent-death signal when the *thread* that started it ends, so
        # this thread lives as long as the pool. Workers inherit the blocked signal: Ctrl-C cannot
        # interrupt a worker that is starting.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        worker: WorkerProcess | None = None
        while (waiting := self._waiting.get()) is not None:
            job, future = waiting
            try:
                report, worker = self._run_job(job, worker)
            except Exception as error:  # The runner waits for the future, so it must get a report.
                reason = f"the pool failed: {type(error).__name__}: {error}"
                report = _lost_report(job, reason)
            self._deliver_report(future, report)
        if worker is not None:
            worker.hang_up(grace=0)

    def _next_waiting(self) -> tuple[Job, Future[Report]] | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _deliver_report(self, future: Future[Report], report: Report) -> None:
        with self._state_lock:
            self._running.discard(future)
        future.set_result(report)

    def _run_job(
        self, job: Job, worker: WorkerProcess | None
    ) -> tuple[Report, WorkerProcess | None]:
        """Return the report of a job, and a worker for the next one; try again where the worker dies."""
        deaths: list[str] = []
        while len(deaths) < MAX_STARTS:
            try:
                worker = worker or self._start_worker()
                report = self._await_report(job, worker)
            except _WorkerDied as death:
                worker = None
                deaths.append(str(death))
                continue
            except _JobAbandoned as reason:
                return _lost_report(job, str(reason)), None
            if report.retire_worker is None:
                return report, worker
            worker.hang_up(grace=1)
            news = {"event": "worker_replaced", "id": job.id, "reason": report.retire_worker}
            self._worker_news.put(news)
            # The next job starts a new worker, so the runner need not stop.
            return replace(report, retire_worker=None), None
        return _lost_report(job, f"its worker died {MAX_STARTS} times ({deaths[-1]})"), None

    def _start_worker(self) -> WorkerProcess:
        try:
            return WorkerProcess.start(serve_jobs, threads=self.threads)
        except OSError as error:
            raise _WorkerDied(f"it could not be started: {error}") from error

    def _await_report(self, job: Job, worker: WorkerProcess) -> Report:
        """Send a job to a worker and return its report.

        Raises:
            _WorkerDied: The worker has ended, or closed the connection.
            _JobAbandoned: The pool is stopping, or the job took too long; the worker is killed.
        """
        deadline = math.inf if job.seconds is None else time.monotonic() + job.seconds
        try:
            worker.wire.send(job)
            while True:
                if worker.wire.poll(POLL_SECONDS):
                    message = json.loads(worker.wire.recv_bytes())
                    if "report" in message:
                        return report_from_json(message["report"])
                    self._worker_news.put(message["news"])
                elif worker.has_ended:
                    raise EOFError
                elif self._stopping.is_set():
                    worker.hang_up(grace=0)
                    raise _JobAbandoned(STOPPED_REASON)
                elif time.monotonic() > deadline:
                    worker.hang_up(grace=0)
                    raise _JobAbandoned(f"it took more than {job.seconds:g} s")
        except (EOFError, OSError) as error:
            raise _WorkerDied(worker.exit_reason()) from error


class _WorkerDied(Exception):
    """The end of a worker; the message says how it ended."""


class _JobAbandoned(Exception):
    """A job that was given up; the message says why."""


def _lost_report(job: Job, reason: str) -> Report:
    return Report(job.id, "lost", (), reason)


def _stopped_report(job: Job) -> Report:
    return _lost_report(job, STOPPED_REASON)
