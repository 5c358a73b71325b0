"""Jobs in this process, one after the other: nothing between a debugger and the code it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

from advtransfer.errors import BadInput, Problem
from advtransfer.trial import perform
from advtransfer.types import Job, Json, Report


class Inline:
    """Runs a job when it is submitted, and answers with a future that is already done."""

    def __init__(self, *, jobs: int, threads: int) -> None:
        if jobs != 1:
            problem = Problem(f"--jobs {jobs}", "1 with local/inline", "use local/pool, or leave --jobs out")
            raise BadInput([problem])
        self.threads = threads
        self._news: list[Mapping[str, Json]] = []

    @property
    def slots(self) -> int:
        return 1

    @contextmanager
    def start(self) -> Iterator[Inline]:
        yield self

    def submit(self, job: Job) -> Future[Report]:
        future: Future[Report] = Future()
        future.set_result(perform(job, self._news.append))
        return future

    def news(self) -> Iterator[Mapping[str, Json]]:
        told, self._news[:] = list(self._news), []
        yield from told

    def stop(self, *, grace: float) -> None:
        """Nothing runs between two submits, so there is nothing to stop."""
