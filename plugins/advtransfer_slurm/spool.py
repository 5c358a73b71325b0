"""Spool folder of one call of `advtransfer run`: jobs, and what workers say, as files that all machines see.

    driver                    "open" or "closed"; touched while the driver lives
    jobs/<name>               a job that waits
    workers/<n>/<name>        a job that worker n has taken: renamed from ``jobs``, so that only one worker can
    workers/<n>/messages      news and reports, one JSON object a line; touched while worker n lives

All ages are differences of two modification times that the file server has given, never of two machines' clocks.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from advtransfer.jobs import Job, Report
from advtransfer.types import Json

OPEN, CLOSED = "open", "closed"


class Spool:
    """The folder as the driver sees it.

    Files are opened by their names rather than listed where that is possible: network file systems answer a listing
    from a cache, but ask the server when a file is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._driver = path / "driver"
        self._jobs = path / "jobs"

    def create(self) -> None:
        """Make the folder, open for workers."""
        self._jobs.mkdir(parents=True)
        (self.path / "workers").mkdir()
        self._driver.write_text(OPEN, encoding="utf-8")

    def close(self) -> None:
        """Tell the workers to end."""
        with self._driver.open("r+", encoding="utf-8") as file:
            file.write(CLOSED)

    def is_open(self) -> bool:
        """Return whether the driver asks for more; a folder that was removed is closed."""
        try:
            return self._driver.read_text(encoding="utf-8") == OPEN
        except OSError:
            return False

    def touch_driver(self) -> float:
        """Note that the driver lives; return the file server's time."""
        return touch_file(self._driver)

    def driver_time(self) -> float:
        """Return the file server's time when the driver was last known to live."""
        return self._driver.stat().st_mtime

    def put_job(self, name: str, job: Job) -> None:
        """Let the next free worker take a job."""
        temporary = self.path / f".{name}.tmp"
        temporary.write_bytes(pickle.dumps(job))
        temporary.rename(self._jobs / name)

    def withdraw_job(self, name: str) -> bool:
        """Take back a job that waits; return False where a worker has taken it."""
        try:
            (self._jobs / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def waiting_jobs(self) -> list[str]:
        """Return the names of the jobs that wait, the oldest first."""
        return sorted(path.name for path in self._jobs.iterdir())

    def return_jobs(self, number: int) -> list[str]:
        """Let others take the jobs that a worker has, and return their names."""
        returned = []
        for path in self.worker(number).taken_jobs():
            with suppress(FileNotFoundError):  # It has just reported the job.
                path.rename(self._jobs / path.name)
                returned.append(path.name)
        return returned

    def worker(self, number: int) -> WorkerDesk:
        """Return the part of the folder that belongs to a worker."""
        return WorkerDesk(self.path / "workers" / str(number), self._jobs)


class WorkerDesk:
    """The folder of one worker: the job that it has taken, and its messages."""

    def __init__(self, path: Path, jobs: Path) -> None:
        self.path = path
        self.messages = path / "messages"
        self._jobs = jobs

    def open(self) -> None:
        """Make the folder; that of a task that was put into the queue again exists."""
        self.path.mkdir(exist_ok=True)
        self.messages.touch()

    def taken_jobs(self) -> list[Path]:
        """Return the files of the jobs that the worker has taken and not reported."""
        try:
            return sorted(path for path in self.path.iterdir() if path != self.messages)
        except FileNotFoundError:
            return []

    def take_job(self) -> tuple[str, Job] | None:
        """Take the oldest job that waits, or one that this worker had before it was interrupted."""
        # A change of its mode makes a network file system list the folder anew.
        self._jobs.chmod(self._jobs.stat().st_mode)
        for path in (*self.taken_jobs(), *sorted(self._jobs.iterdir())):
            mine = self.path / path.name
            with suppress(FileNotFoundError):
                path.rename(mine)
            # A network file system can carry out a rename and report that it failed.
            with suppress(FileNotFoundError):
                job: Job = pickle.loads(mine.read_bytes())
                return path.name, job
        return None

    def write_messages(self, messages: Iterable[Mapping[str, Json]]) -> None:
        """Add messages, which also shows that the worker lives."""
        lines = "".join(f"{json.dumps(message)}\n" for message in messages)
        if lines:
            with self.messages.open("a", encoding="utf-8") as file:
                file.write(lines)

    def finish_job(self, name: str, report: Report, news: Iterable[Mapping[str, Json]]) -> None:
        """Report the end of a job after the last news of it."""
        end: dict[str, Json] = {
            "job": name,
            "report": report.to_json(),
        }
        self.write_messages([*({"news": dict(item)} for item in news), end])
        # The driver may have given it to another worker meanwhile.
        (self.path / name).unlink(missing_ok=True)

    def touch_messages(self) -> float:
        """Note that the worker lives; return the file server's time."""
        return touch_file(self.messages)


class MessageReader:
    """Reader of what one worker has written since the last call."""

    def __init__(self, desk: WorkerDesk) -> None:
        self._path = desk.messages
        self._position = 0
        self.written: float | None = None

    def read_messages(self) -> Iterator[Mapping[str, Json]]:
        """Yield the new messages; `written` then holds the file server's time when the worker last lived.

        A line that is not complete yet stays for the next call.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                lines = file.read()
                self.written = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:  # The task waits in the queue.
            return
        complete = lines[: lines.rfind(b"\n") + 1]
        self._position += len(complete)
        for line in complete.splitlines():
            yield json.loads(line)


def touch_file(path: Path) -> float:
    """Set a file's modification time by the file server's clock, and return it."""
    os.utime(path)
    return path.stat().st_mtime
