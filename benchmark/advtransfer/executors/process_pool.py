"""Executor that runs jobs in reused worker processes of this machine: the worker's and the runner's side.

A worker that dies, at any moment, fails its own job only.
"""

from __future__ import annotations

import ctypes
import io
import json
import math
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection

from advtransfer.jobs import Job, Report
from advtransfer.types import Json
from advtransfer.worker import perform_job

PR_SET_PDEATHSIG = 1
"""Option of Linux's ``prctl`` that sets the signal which a process gets when its parent ends."""


def serve_jobs(wire: Connection, driver: int) -> None:
    """Run jobs from the connection until the runner closes it."""
    # A terminal sends Ctrl-C to all processes of its group; only the runner decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_driver(driver)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The kernel kills this process with its runner: what a plugin prints must not wait in a buffer.
        sys.stdout.reconfigure(line_buffering=True)
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


def _end_with_driver(driver: int) -> None:
    """End this process when the runner has ended."""
    # On Linux the kernel kills it at once, also within C code that holds the GIL.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_driver, args=(driver,), daemon=True).start()


def _watch_driver(driver: int) -> None:
    """Exit when the runner has ended: on other systems, or where it ended before ``prctl`` was called."""
    pause = threading.Event()
    while os.getppid() == driver:
        pause.wait(0.5)
    os._exit(1)


MAX_STARTS = 3
"""Number of starts after which a job counts as lost; a worker can die for another reason than its job."""

STOPPED_REASON = "the run was stopped"

POLL_SECONDS = 0.25
"""Seconds between two checks of a silent worker, whose children can keep the pipe open when it is dead."""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


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
        worker: _Worker | None = None
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

    def _run_job(self, job: Job, worker: _Worker | None) -> tuple[Report, _Worker | None]:
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

    def _start_worker(self) -> _Worker:
        try:
            return _Worker.start(self.threads)
        except OSError as error:
            raise _WorkerDied(f"it could not be started: {error}") from error

    def _await_report(self, job: Job, worker: _Worker) -> Report:
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
                elif worker.process.poll() is not None and not worker.wire.poll():
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


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker process, and the runner's end of the connection to it."""

    process: subprocess.Popen[bytes]
    wire: Connection

    @classmethod
    def start(cls, threads: int) -> _Worker:
        """Start a worker whose libraries use `threads` CPU threads."""
        runner_end, worker_end = multiprocessing.Pipe(duplex=True)
        # Only the worker may hold its end open: its death then closes the connection.
        with worker_end:
            process = subprocess.Popen(
                _worker_command(worker_end.fileno()),
                pass_fds=[worker_end.fileno()],
                env=_worker_environment(threads),
                # The standard input of the runner may be the script that it runs.
                stdin=subprocess.DEVNULL,
            )
        return cls(process, runner_end)

    def hang_up(self, *, grace: float) -> None:
        """Close the connection, and kill the worker if it has not ended within `grace` seconds."""
        self.wire.close()
        self._wait_for_exit(grace)
        self.process.kill()
        self.process.wait()

    def exit_reason(self) -> str:
        """Return how a worker that closed the connection ended; kill one that still runs."""
        self._wait_for_exit(1)
        code = self.process.poll()
        self.hang_up(grace=0)
        if code is None:
            return "it hung up"
        if code >= 0:
            return f"exit code {code}: its code ended the process"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if -code == signal.SIGKILL:  # The signal of the kernel when memory runs out.
            return f"{name}: out of memory, or killed"
        return f"{name}: it crashed, or was killed"

    def _wait_for_exit(self, seconds: float) -> None:
        """Wait until the process has ended, for at most `seconds`."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds)


def _lost_report(job: Job, reason: str) -> Report:
    return Report(job.id, "lost", (), reason)


def _stopped_report(job: Job) -> Report:
    return _lost_report(job, STOPPED_REASON)


def _worker_command(descriptor: int) -> list[str]:
    """Return the command that starts a worker; `descriptor` is its end of the connection.

    Not a `multiprocessing.Process`: that would import the `__main__` of the runner, which may be a
    script without ``if __name__ == "__main__"``, come from standard input, or be a notebook.
    """
    code = (
        f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}; "
        "from multiprocessing.connection import Connection; "
        f"from {serve_jobs.__module__} import {serve_jobs.__name__} as serve; "
        f"serve(Connection({descriptor}), {os.getpid()})"
    )
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # not in typeshed
    return [sys.executable, *flags, "-c", code]


def _worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker, whose libraries read thread counts when they are imported."""
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        # Sets and hashes of texts have the same order in every process.
        "PYTHONHASHSEED": "0",
        # A notebook's own backend draws into the notebook.
        "MPLBACKEND": "agg",
    }
