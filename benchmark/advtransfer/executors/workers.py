"""Jobs in reused worker processes of this machine, by pebble: a killed worker fails its own job only."""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from multiprocessing.connection import Connection

from pebble import ProcessExpired, ProcessPool

from advtransfer.trial import perform
from advtransfer.types import Job, Json, Report

LIVES = 3
"""How often a job is started before it counts as lost: a worker can be killed by something else than its job."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Pool:
    """A pool of spawned workers; what they tell comes back through one pipe.

    A piece of news is one write smaller than PIPE_BUF, which is atomic, so workers share the pipe without a lock that
    a killed one could take with it.
    """

    def __init__(self, *, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads
        self._pool: ProcessPool | None = None
        self._reader: Connection | None = None
        self._running: set[Future[Report]] = set()
        self._guard = threading.Lock()

    @property
    def slots(self) -> int:
        return self.jobs

    @contextmanager
    def start(self) -> Iterator[Pool]:
        spawn = multiprocessing.get_context("spawn")
        self._reader, writer = spawn.Pipe(duplex=False)
        with _environment(self.threads):
            self._pool = ProcessPool(
                max_workers=self.jobs, context=spawn, initializer=_begin, initargs=(writer, os.getpid())
            )
            try:
                yield self
            finally:
                self.stop(grace=0)
                self._reader.close()
                writer.close()

    def submit(self, job: Job) -> Future[Report]:
        answer: Future[Report] = Future()
        with self._guard:
            self._running.add(answer)
        self._try(job, answer, LIVES)
        return answer

    def news(self) -> Iterator[Mapping[str, Json]]:
        while self._reader is not None and self._reader.poll():
            yield json.loads(self._reader.recv_bytes())

    def stop(self, *, grace: float) -> None:
        """Give running jobs `grace` seconds to end, then kill them: records are whole or absent, so nothing is lost."""
        with self._guard:
            running = list(self._running)
        wait(running, timeout=grace)
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves it without annotations
            self._pool.join()
            self._pool = None

    def _try(self, job: Job, answer: Future[Report], lives: int) -> None:
        if self._pool is None:
            self._end(answer, Report(job.id, "lost", (), "the pool has stopped"))
            return
        future = self._pool.schedule(_work, args=(job,), timeout=job.seconds)
        future.add_done_callback(lambda done: self._settle(job, answer, lives - 1, done))

    def _settle(self, job: Job, answer: Future[Report], lives: int, done: Future[Report]) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled():
            self._end(answer, Report(job.id, "lost", (), "the run was stopped"))
        elif error is None:
            self._end(answer, done.result())
        elif isinstance(error, ProcessExpired) and lives > 0:
            self._try(job, answer, lives)
        elif isinstance(error, ProcessExpired):
            reason = f"its worker died {LIVES} times (exit code {error.exitcode}): out of memory, or killed"
            self._end(answer, Report(job.id, "lost", (), reason))
        else:
            reason = f"{type(error).__name__}: {error}"
            self._end(answer, Report(job.id, "lost", (), reason))

    def _end(self, answer: Future[Report], report: Report) -> None:
        with self._guard:
            self._running.discard(answer)
        answer.set_result(report)


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


_wires: list[Connection] = []
"""In a worker: the pipe it tells its news through (a process has one, and pebble hands state only to its start)."""


def _begin(writer: Connection, driver: int) -> None:
    """Start a worker: the driver decides when to stop, so Ctrl-C is not for it; without a driver it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _wires.append(writer)
    threading.Thread(target=_watch, args=(driver,), daemon=True).start()


def _watch(driver: int) -> None:
    """End this worker when the driver is gone: a killed driver leaves nothing behind."""
    pause = threading.Event()
    while os.getppid() == driver:
        pause.wait(0.5)
    os._exit(1)


def _work(job: Job) -> Report:
    return perform(job, _tell)


def _tell(news: Mapping[str, Json]) -> None:
    message = json.dumps(news).encode()
    if (
        len(message) < select.PIPE_BUF - 4
    ):  # a longer write is not atomic; progress may be dropped, records are not news
        _wires[0].send_bytes(message)
