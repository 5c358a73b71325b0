"""Executor that runs jobs in this process, one after the other, for debuggers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

from advtransfer.errors import BadInput, Interrupted, Problem
from advtransfer.jobs import Job, Report
from advtransfer.types import Json
from advtransfer.worker import perform_job


class InlineExecutor:
    """An executor that runs a job when it is submitted, and returns a future that is done.

    After a job that left this process unfit, it reports every further job as busy, since there is no other
    process to run it in.
    """

    def __init__(self, *, jobs: int, threads: int) -> None:
        if jobs != 1:
            problem = Problem(
                f"--jobs {jobs}", "1 with local/inline", "use local/pool, or leave --jobs out"
            )
            raise BadInput([problem])
        self.threads = threads
        self._news: list[Mapping[str, Json]] = []
        self._unfit_reason: str | None = None

    @property
    def slots(self) -> int:
        return 1

    @contextmanager
    def start(self) -> Iterator[InlineExecutor]:
        with _convert_interrupts():
            yield self

    def submit(self, job: Job) -> Future[Report]:
        future: Future[Report] = Future()
        if self._unfit_reason is not None:
            future.set_result(Report(job.id, "busy", (), self._unfit_reason, self._unfit_reason))
            return future
        # The end of a step at its limit would be the end of this process.
        unlimited = replace(job, seconds=None, step_seconds={})
        report = perform_job(unlimited, self._news.append)
        self._unfit_reason = report.retire_worker
        future.set_result(report)
        return future

    def news(self) -> Iterator[Mapping[str, Json]]:
        messages = list(self._news)
        self._news.clear()
        yield from messages

    def stop(self, *, grace: float) -> None:
        """Do nothing: no job runs between two calls of `submit`."""


@contextmanager
def _convert_interrupts() -> Iterator[None]:
    """Raise Interrupted for signals that raise KeyboardInterrupt, so that a plugin's own does not stop the run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Handlers that a debugger or a test has installed stay.
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.default_int_handler
    ]
    for number in numbers:
        signal.signal(number, _raise_interrupted)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)


def _raise_interrupted(number: int, frame: object) -> NoReturn:
    raise Interrupted
