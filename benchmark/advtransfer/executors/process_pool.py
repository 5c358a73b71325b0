"""Executor that runs jobs in reused worker processes of this machine.

The driver's side and the worker's side.

A worker that dies, whenever and however, fails its own job only.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from advtransfer.jobs import Job, Report
from advtransfer.types import Json
from advtransfer.worker import perform_job

PR_SET_PDEATHSIG = 1
"""Of Linux's ``prctl``: the signal that a process gets when its parent ends."""


def serve_jobs(wire: Connection, driver: int) -> None:
    """Carry out one job after the other until the driver hangs up; its own Ctrl-C is for the driver alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_driver(driver)
    guard = threading.Lock()

    def send(message: Mapping[str, object]) -> None:
        text = json.dumps(message).encode()
        with guard:  # a plugin's threads may tell their progress as well
            wire.send_bytes(text)

    def tell(news: Mapping[str, Json]) -> None:
        send({"news": news})

    with suppress(EOFError, OSError):  # the driver has hung up
        while True:
            job: Job = wire.recv()
            send({"report": asdict(perform_job(job, tell))})


def report_from_json(message: Mapping[str, Json]) -> Report:
    """A report as `serve_jobs` sent it."""
    fields = dict(message)
    records = fields.pop("records")
    return Report(**fields, records=tuple(records))  # type: ignore[arg-type]  # JSON that `asdict` of a report gave


def _end_with_driver(driver: int) -> None:
    """Let this process end when its driver is gone: at once on Linux, also within C code that holds the GIL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_driver, args=(driver,), daemon=True).start()


def _watch_driver(driver: int) -> None:
    """End this worker when the driver is gone, where the system does not, or did before it was asked to."""
    pause = threading.Event()
    while os.getppid() == driver:
        pause.wait(0.5)
    os._exit(1)


MAX_STARTS = 3
"""How often a job is started before it counts as lost: a worker can be killed by something else than its job."""

STOPPED_REASON = "the run was stopped"

POLL_SECONDS = 0.25
"""Seconds between two looks at a silent worker: its own children can keep the wire open when it is dead."""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class ProcessPool:
    """A pool of spawned workers: one thread a worker hands it jobs, listens to it, and replaces it when it has ended.

    No lock and no pipe is shared between workers, so a killed one takes nothing with it that others need.
    """

    def __init__(self, *, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads
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
        with _thread_environment(self.threads):
            self._worker_threads = [
                threading.Thread(target=self._serve_worker, daemon=True) for _ in range(self.jobs)
            ]
            for servant in self._worker_threads:
                servant.start()
            try:
                yield self
            finally:
                self.stop(grace=0)

    def submit(self, job: Job) -> Future[Report]:
        answer: Future[Report] = Future()
        if not self._worker_threads:
            answer.set_result(_stopped_report(job))
            return answer
        with self._state_lock:
            self._running.add(answer)
        self._waiting.put((job, answer))
        return answer

    def news(self) -> Iterator[Mapping[str, Json]]:
        while True:
            try:
                yield self._worker_news.get_nowait()
            except queue.Empty:
                return

    def stop(self, *, grace: float) -> None:
        """Give running jobs `grace` seconds to end, then kill them: records are whole or absent, so nothing is lost."""
        while (asked := self._next_waiting()) is not None:
            self._deliver_report(asked[1], _stopped_report(asked[0]))
        with self._state_lock:
            running = list(self._running)
        wait(running, timeout=grace)
        self._stopping.set()
        for _ in self._worker_threads:
            self._waiting.put(None)
        for servant in self._worker_threads:
            servant.join()
        self._worker_threads = []

    def _serve_worker(self) -> None:
        """Hand one worker its jobs; the thread lives as long as the pool, since on Linux its workers end with it."""
        signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT}
        )  # inherited: Ctrl-C cannot hit a worker that starts
        worker: _Worker | None = None
        while (asked := self._waiting.get()) is not None:
            job, answer = asked
            try:
                report, worker = self._run_job(job, worker)
            except Exception as error:  # a driver that waits for an answer must get one
                report = Report(
                    job.id, "lost", (), f"the pool failed: {type(error).__name__}: {error}"
                )
            self._deliver_report(answer, report)
        if worker is not None:
            worker.hang_up(grace=0)

    def _next_waiting(self) -> tuple[Job, Future[Report]] | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _deliver_report(self, answer: Future[Report], report: Report) -> None:
        with self._state_lock:
            self._running.discard(answer)
        answer.set_result(report)

    def _run_job(self, job: Job, worker: _Worker | None) -> tuple[Report, _Worker | None]:
        """The report of one job, and the worker that is fit for another; a job whose worker dies is tried again."""
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
                return Report(job.id, "lost", (), str(reason)), None
            if report.retire_worker is not None:
                worker.hang_up(grace=1)
                worker = None
                self._worker_news.put(
                    {"event": "worker_replaced", "id": job.id, "reason": report.retire_worker}
                )
            return replace(report, retire_worker=None), worker
        return Report(
            job.id, "lost", (), f"its worker died {MAX_STARTS} times ({deaths[-1]})"
        ), None

    def _start_worker(self) -> _Worker:
        try:
            with self._state_lock:  # multiprocessing keeps its list of children without a lock
                return _Worker.start()
        except OSError as error:
            raise _WorkerDied(f"it could not be started: {error}") from error

    def _await_report(self, job: Job, worker: _Worker) -> Report:
        """Hand a job over and listen until it is done.

        Raises:
            _Died: The worker has ended, or hung up.
            _GivenUp: The pool is stopping, or the job took too long; the worker is killed.
        """
        late = time.monotonic() + job.seconds if job.seconds is not None else None
        try:
            worker.wire.send(job)
            while True:
                if worker.wire.poll(POLL_SECONDS):
                    message = json.loads(worker.wire.recv_bytes())
                    if "report" in message:
                        return report_from_json(message["report"])
                    self._worker_news.put(message["news"])
                elif not worker.process.is_alive() and not worker.wire.poll():
                    raise EOFError
                elif self._stopping.is_set():
                    worker.hang_up(grace=0)
                    raise _JobAbandoned(STOPPED_REASON)
                elif late is not None and time.monotonic() > late:
                    worker.hang_up(grace=0)
                    raise _JobAbandoned(f"it took more than {job.seconds:g} s")
        except (EOFError, OSError) as error:  # hung up: dead, or about to be
            raise _WorkerDied(worker.exit_reason()) from error


class _WorkerDied(Exception):
    """A worker has ended; the message says how."""


class _JobAbandoned(Exception):
    """A job was given up; the message says why."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker process and the driver's end of the wire to it."""

    process: SpawnProcess
    wire: Connection

    @classmethod
    def start(cls) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        here, there = spawn.Pipe(duplex=True)
        process = spawn.Process(
            target=serve_jobs, args=(there, os.getpid()), name="advtransfer worker"
        )
        process.start()
        there.close()
        return cls(process, here)

    def hang_up(self, *, grace: float) -> None:
        """Hang up, and kill the worker if it has not ended within `grace` seconds."""
        self.wire.close()
        self._wait_for_exit(grace)
        self.process.kill()
        self.process.join()

    def exit_reason(self) -> str:
        """How a worker that has hung up ended, in words; one that goes on without a wire is killed."""
        self._wait_for_exit(1)
        code = self.process.exitcode
        self.hang_up(grace=0)
        if code is None:
            return "it hung up"
        if code >= 0:
            return f"exit code {code}: its code ended the process"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}: {'out of memory, or killed' if -code == signal.SIGKILL else 'it crashed, or was killed'}"

    def _wait_for_exit(self, seconds: float) -> None:
        """Wait for the process to end; `join` waits for ever for one that has closed all its files and goes on."""
        late = time.monotonic() + seconds
        while time.monotonic() < late and self.process.is_alive():
            time.sleep(0.01)


def _stopped_report(job: Job) -> Report:
    return Report(job.id, "lost", (), STOPPED_REASON)


@contextmanager
def _thread_environment(threads: int) -> Iterator[None]:
    """The variables that workers inherit; libraries read them when they are imported, so they must be set before."""
    wanted = dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
