"""Jobs in reused worker processes of this machine: a worker that dies, whenever and however, fails its own job only."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from advtransfer.executors.worker_process import report_of, work
from advtransfer.types import Job, Json, Report

LIVES = 3
"""How often a job is started before it counts as lost: a worker can be killed by something else than its job."""

STOPPED = "the run was stopped"

PATIENCE = 0.25
"""Seconds between two looks at a silent worker: its own children can keep the wire open when it is dead."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Pool:
    """A pool of spawned workers: one thread a worker hands it jobs, listens to it, and replaces it when it has ended.

    No lock and no pipe is shared between workers, so a killed one takes nothing with it that others need.
    """

    def __init__(self, *, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads
        self._waiting: queue.SimpleQueue[tuple[Job, Future[Report]] | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[Mapping[str, Json]] = queue.SimpleQueue()
        self._running: set[Future[Report]] = set()
        self._servants: list[threading.Thread] = []
        self._guard = threading.Lock()
        self._stopping = threading.Event()

    @property
    def slots(self) -> int:
        return self.jobs

    @contextmanager
    def start(self) -> Iterator[Pool]:
        self._stopping.clear()
        with _environment(self.threads):
            self._servants = [threading.Thread(target=self._serve, daemon=True) for _ in range(self.jobs)]
            for servant in self._servants:
                servant.start()
            try:
                yield self
            finally:
                self.stop(grace=0)

    def submit(self, job: Job) -> Future[Report]:
        answer: Future[Report] = Future()
        if not self._servants:
            answer.set_result(_stopped(job))
            return answer
        with self._guard:
            self._running.add(answer)
        self._waiting.put((job, answer))
        return answer

    def news(self) -> Iterator[Mapping[str, Json]]:
        while True:
            try:
                yield self._told.get_nowait()
            except queue.Empty:
                return

    def stop(self, *, grace: float) -> None:
        """Give running jobs `grace` seconds to end, then kill them: records are whole or absent, so nothing is lost."""
        while (asked := self._next()) is not None:
            self._answer(asked[1], _stopped(asked[0]))
        with self._guard:
            running = list(self._running)
        wait(running, timeout=grace)
        self._stopping.set()
        for _ in self._servants:
            self._waiting.put(None)
        for servant in self._servants:
            servant.join()
        self._servants = []

    def _serve(self) -> None:
        """Hand one worker its jobs; the thread lives as long as the pool, since on Linux its workers end with it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C cannot hit a worker that starts
        worker: _Worker | None = None
        while (asked := self._waiting.get()) is not None:
            job, answer = asked
            try:
                report, worker = self._carry(job, worker)
            except Exception as error:  # a driver that waits for an answer must get one
                report = Report(job.id, "lost", (), f"the pool failed: {type(error).__name__}: {error}")
            self._answer(answer, report)
        if worker is not None:
            worker.end(grace=0)

    def _next(self) -> tuple[Job, Future[Report]] | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _answer(self, answer: Future[Report], report: Report) -> None:
        with self._guard:
            self._running.discard(answer)
        answer.set_result(report)

    def _carry(self, job: Job, worker: _Worker | None) -> tuple[Report, _Worker | None]:
        """The report of one job, and the worker that is fit for another; a job whose worker dies is tried again."""
        deaths: list[str] = []
        while len(deaths) < LIVES:
            try:
                worker = worker or self._hire()
                report = self._report(job, worker)
            except _Died as death:
                worker = None
                deaths.append(str(death))
                continue
            except _GivenUp as reason:
                return Report(job.id, "lost", (), str(reason)), None
            if report.retire_worker is not None:
                worker.end(grace=1)
                worker = None
                self._told.put({"event": "worker_replaced", "id": job.id, "reason": report.retire_worker})
            return replace(report, retire_worker=None), worker
        return Report(job.id, "lost", (), f"its worker died {LIVES} times ({deaths[-1]})"), None

    def _hire(self) -> _Worker:
        try:
            with self._guard:  # multiprocessing keeps its list of children without a lock
                return _Worker.start()
        except OSError as error:
            raise _Died(f"it could not be started: {error}") from error

    def _report(self, job: Job, worker: _Worker) -> Report:
        """Hand a job over and listen until it is done.

        Raises:
            _Died: The worker has ended, or hung up.
            _GivenUp: The pool is stopping, or the job took too long; the worker is killed.
        """
        late = time.monotonic() + job.seconds if job.seconds is not None else None
        try:
            worker.wire.send(job)
            while True:
                if worker.wire.poll(PATIENCE):
                    message = json.loads(worker.wire.recv_bytes())
                    if "report" in message:
                        return report_of(message["report"])
                    self._told.put(message["news"])
                elif not worker.process.is_alive() and not worker.wire.poll():
                    raise EOFError
                elif self._stopping.is_set():
                    worker.end(grace=0)
                    raise _GivenUp(STOPPED)
                elif late is not None and time.monotonic() > late:
                    worker.end(grace=0)
                    raise _GivenUp(f"it took more than {job.seconds:g} s")
        except (EOFError, OSError) as error:  # hung up: dead, or about to be
            raise _Died(worker.ended()) from error


class _Died(Exception):
    """A worker has ended; the message says how."""


class _GivenUp(Exception):
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
        process = spawn.Process(target=work, args=(there, os.getpid()), name="advtransfer worker")
        process.start()
        there.close()
        return cls(process, here)

    def end(self, *, grace: float) -> None:
        """Hang up, and kill the worker if it has not ended within `grace` seconds."""
        self.wire.close()
        self._wait(grace)
        self.process.kill()
        self.process.join()

    def ended(self) -> str:
        """How a worker that has hung up ended, in words; one that goes on without a wire is killed."""
        self._wait(1)
        code = self.process.exitcode
        self.end(grace=0)
        if code is None:
            return "it hung up"
        if code >= 0:
            return f"exit code {code}: its code ended the process"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}: {'out of memory, or killed' if -code == signal.SIGKILL else 'it crashed, or was killed'}"

    def _wait(self, seconds: float) -> None:
        """Wait for the process to end; `join` waits for ever for one that has closed all its files and goes on."""
        late = time.monotonic() + seconds
        while time.monotonic() < late and self.process.is_alive():
            time.sleep(0.01)


def _stopped(job: Job) -> Report:
    return Report(job.id, "lost", (), STOPPED)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """The variables that workers inherit; libraries read them when they are imported, so they must be set before."""
    wanted = dict.fromkeys(_THREADS, str(threads)) | {
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
