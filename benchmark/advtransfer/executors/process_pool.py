"""Executor that runs jobs in reused worker processes of this machine: the worker's and the runner's side.

A worker that dies, at any moment, fails its own job only.
"""

from __future__ import annotations

import json
import queue
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from advtransfer.errors import BadInput, Problem
from advtransfer.executors import process_tree
from advtransfer.executors.job_watch import JobWatch
from advtransfer.executors.worker_process import WorkerProcess, begin_worker
from advtransfer.jobs import STOPPED_REASON, Job, Report
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
            send({"report": perform_job(job, send_news).to_json()})


MAX_STARTS = 3
"""Number of deaths at one step after which a job counts as lost; a worker can die for another reason than its job."""


class ProcessPool:
    """A pool of spawned workers, each with a thread that sends it jobs, reads its messages and replaces it.

    Workers share no lock and no pipe, so a killed worker cannot block the others.

    Args:
        jobs: Number of workers.
        threads: CPU threads of a worker.
        devices: The devices that workers take in turn; none to leave each job the device that it names.
        memory_limit: The bytes that a worker may use with its children; None for no limit.
    """

    def __init__(
        self,
        *,
        jobs: int,
        threads: int,
        devices: Sequence[str] = (),
        memory_limit: int | None = None,
    ) -> None:
        if memory_limit is not None and not process_tree.HAS_PROC:
            problem = Problem(
                "--memory on a system without /proc",
                "Linux, which tells the memory of other processes",
                "leave it out, or limit the whole run with the system's own tools",
            )
            raise BadInput([problem])
        self.jobs = jobs
        self.threads = threads
        self.devices = devices
        self.memory_limit = memory_limit
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
            threading.Thread(target=self._serve_worker, args=(number,), daemon=True)
            for number in range(self.jobs)
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

    def _serve_worker(self, number: int) -> None:
        """Run jobs in one worker after the other until the pool stops; `number` chooses the device."""
        # On Linux a worker gets its parent-death signal when the *thread* that started it ends, so
        # this thread lives as long as the pool. Workers inherit the blocked signals: Ctrl-C, or the
        # end of a terminal, cannot end a worker that is starting.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        device = self.devices[number % len(self.devices)] if self.devices else None
        worker: WorkerProcess | None = None
        while (waiting := self._waiting.get()) is not None:
            job, future = waiting
            try:
                placed = job if device is None else replace(job, device=device)
                report, worker = self._run_job(placed, worker)
            except Exception as error:  # The runner waits for the future, so it must get a report.
                reason = f"the pool failed: {type(error).__name__}: {error}"
                report = Report.lost(job, reason)
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
        deaths: Counter[str] = Counter()
        while True:
            is_used = worker is not None
            try:
                worker = worker or self._start_worker()
                report = self._await_report(job, worker, is_used=is_used)
            except _WorkerDied as death:
                worker = None
                deaths[death.step] += 1
                if deaths[death.step] == MAX_STARTS:
                    reason = f"its worker died {MAX_STARTS} times ({death})"
                    return Report.lost(job, reason), None
                continue
            except _JobAbandoned as reason:
                return Report.lost(job, str(reason)), None
            except _LimitBroken as reason:
                return replace(Report.lost(job, str(reason)), broke_limit=True), None
            if report.retire_worker is None:
                return report, worker
            worker.hang_up(grace=1)
            news = {"event": "worker_replaced", "id": job.id, "reason": report.retire_worker}
            self._worker_news.put(news)
            # The next job starts a new worker, so the runner need not stop.
            return replace(report, retire_worker=None), None

    def _start_worker(self) -> WorkerProcess:
        try:
            return WorkerProcess.start(serve_jobs, threads=self.threads)
        except OSError as error:
            raise _WorkerDied(f"it could not be started: {error}", step="") from error

    def _await_report(self, job: Job, worker: WorkerProcess, *, is_used: bool) -> Report:
        """Send a job to a worker and return its report.

        Raises:
            _WorkerDied: The worker has ended, closed the connection, or was above the memory limit
                after other jobs.
            _LimitBroken: The job broke a limit; the worker is killed.
            _JobAbandoned: The pool is stopping; the worker is killed.
        """
        watch = JobWatch(job, worker.process.pid, memory_limit=self.memory_limit)
        try:
            worker.wire.send(job)
            while True:
                if worker.wire.poll(watch.poll_seconds):
                    message = json.loads(worker.wire.recv_bytes())
                    if "report" in message:
                        return Report.from_json(message["report"])
                    watch.note_news(message["news"])
                    self._worker_news.put(message["news"])
                elif worker.has_ended:
                    raise EOFError
                if self._stopping.is_set():
                    worker.kill()
                    raise _JobAbandoned(STOPPED_REASON)
                self._enforce_limits(watch, worker, is_used=is_used)
        except (EOFError, OSError) as error:
            raise _WorkerDied(worker.exit_reason(), step=watch.step_id) from error

    def _enforce_limits(self, watch: JobWatch, worker: WorkerProcess, *, is_used: bool) -> None:
        warning = watch.stopped_warning()
        if warning is not None:
            self._worker_news.put({"event": "warning", "id": watch.job.id, "text": warning})
        over_memory = watch.memory_fault()
        reason = over_memory or watch.time_fault()
        if reason is None:
            return
        worker.kill()
        if over_memory and is_used:  # Earlier jobs may have left it, so the job gets a new worker.
            raise _WorkerDied(reason, step=watch.step_id)
        raise _LimitBroken(reason)


class _WorkerDied(Exception):
    """The end of a worker; the message says how it ended, `step` at which node of the job."""

    def __init__(self, reason: str, *, step: str) -> None:
        self.step = step
        super().__init__(reason)


class _LimitBroken(Exception):
    """A job that was stopped at a limit; the message says which and where."""


class _JobAbandoned(Exception):
    """A job that was given up; the message says why."""


def _stopped_report(job: Job) -> Report:
    return Report.lost(job, STOPPED_REASON)
