"""Threads that somebody started and left: they go on in the middle of what others compute."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from types import FrameType

SECONDS = 0.2
"""How long a thread that is about to end is waited for."""

LIBRARIES = frozenset({"advtransfer", "concurrent", "joblib", "multiprocessing", "torch", "tqdm"})
"""Packages whose threads wait for work of their own, such as pools that are kept for the next call."""


@dataclass(frozen=True, slots=True)
class RunningThreads:
    """The threads of the process at one moment."""

    threads: frozenset[threading.Thread]

    @classmethod
    def now(cls) -> RunningThreads:
        """Those that run."""
        return cls(frozenset(threading.enumerate()))

    def left(self) -> list[str]:
        """Those that were started since and still run, in words."""
        started = [one for one in threading.enumerate() if one not in self.threads and not _waits(one)]
        for one in started:
            one.join(SECONDS)
        return [f"the thread {one.name!r} was left running" for one in started if one.is_alive()]


def _waits(thread: threading.Thread) -> bool:
    """Whether a library's own thread waits for work, and runs nobody else's code."""
    begins = getattr(thread, "_target", None) or type(thread).run
    if _package(getattr(begins, "__module__", "")) not in LIBRARIES:
        return False
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        package = _package(str(frame.f_globals.get("__name__", "")))
        if package not in LIBRARIES and package not in sys.stdlib_module_names:
            return False
        frame = frame.f_back
    return True


def _package(module: str) -> str:
    return module.partition(".")[0]
