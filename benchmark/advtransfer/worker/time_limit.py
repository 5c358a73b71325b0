"""Time limit of a step of a job, kept by a thread that needs no GIL.

The thread ends this process also while C code holds the GIL. It leaves the traceback in the run
folder, so that the executor's next attempt at the job records the failure and goes on after it.
"""

from __future__ import annotations

import faulthandler
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import TextIO

from advtransfer.errors import TimeLimitExceeded
from advtransfer.files import delete_if_present
from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.text import format_duration

TRACE_NAME = ".overdue-{step}.txt"
"""Name of the file that is in the run folder while a step under a limit runs, and holds its traceback after it."""

MAX_IMPORT_SECONDS = 2.0
"""Longest time between the imports of two modules that counts as time of imports."""

FIRED = "Timeout ("
"""How `faulthandler` begins the traceback of a process that it ends."""

IMPORT_MACHINERY = "<frozen importlib"
"""How Python names its own files that import modules: a place in them tells nobody which code asked."""

FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)


@contextmanager
def time_limit(job: Job, step: Node) -> Iterator[None]:
    """End this process if the code inside takes longer than the limit of a step.

    The imports of libraries, which a process makes once, do not count.

    Raises:
        TimeLimitExceeded: An earlier process of this run was ended so in this step.
    """
    seconds = job.seconds_of(step.id)
    if seconds is None:
        yield
        return
    trace = job.run / TRACE_NAME.format(step=step.id)
    # Its trace stays while the run lasts: the job may be tried again for another step, this one is not.
    _raise_if_fired(trace, seconds)
    try:
        with trace.open("w") as file, _alarm(seconds, file):
            yield
    finally:
        delete_if_present(trace)


def forget_overdue_steps(run: Path) -> None:
    """Delete the traces of a run, so that the next call tries a step that broke its limit again."""
    for trace in run.glob(TRACE_NAME.format(step="*")):
        delete_if_present(trace)


def copy_traces(ended: Path, run: Path) -> bool:
    """Copy the traces of a process that has ended from its folder to another one; return if there were any."""
    traces = list(ended.glob(TRACE_NAME.format(step="*")))
    for trace in traces:
        # Another call of a driver may delete the folder meanwhile.
        with suppress(FileNotFoundError):
            shutil.copyfile(trace, run / trace.name)
    return bool(traces)


@contextmanager
def _alarm(seconds: float, file: TextIO) -> Iterator[None]:
    faulthandler.dump_traceback_later(seconds, exit=True, file=file)
    finder = _PausingFinder(seconds, file)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        sys.meta_path.remove(finder)


class _PausingFinder(MetaPathFinder):
    """A finder that finds nothing: it is asked for each new module, and sets the alarm off for the import.

    A module that cannot be found is asked for at each attempt, which counts once.
    """

    def __init__(self, seconds: float, file: TextIO) -> None:
        self.file = file
        self.asked: set[str] = set()
        self.last_import = time.monotonic()
        self.deadline = self.last_import + seconds

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname in self.asked:
            return
        self.asked.add(fullname)
        now = time.monotonic()
        since_last = now - self.last_import
        self.last_import = now
        if since_last < MAX_IMPORT_SECONDS and now < self.deadline:
            self.deadline += since_last
            faulthandler.dump_traceback_later(self.deadline - now, exit=True, file=self.file)


def _raise_if_fired(trace: Path, seconds: float) -> None:
    try:
        text = trace.read_text(errors="replace")
    except FileNotFoundError:
        return
    if FIRED not in text:
        return  # Its process was killed before.
    # The main thread, which runs the step, is the oldest and comes last; its innermost call is first.
    frames = FRAME.finditer(text.rpartition("Thread 0x")[2])
    frame = next((f for f in frames if not f["file"].startswith(IMPORT_MACHINERY)), None)
    place = ""
    if frame is not None:
        file = "/".join(Path(frame["file"]).parts[-2:])
        place = f" in {frame['function']} ({file}:{frame['line']})"
    error = TimeLimitExceeded(f"stopped{place} at its time limit of {format_duration(seconds)}")
    error.add_note(text)
    raise error
