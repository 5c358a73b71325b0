"""A spawned process that serves this one over a connection, and how it ends with it.

What it serves is a function of the connection and of this process's id. It calls `begin_worker`
first, then answers what it receives until the connection is closed.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeAlias

from advtransfer.executors.process_tree import kill_descendants
from advtransfer.jobs import worker_variables

Serve: TypeAlias = Callable[[Connection, int], None]
"""A function of a module, which a worker imports and calls."""

PR_SET_PDEATHSIG = 1
"""Option of Linux's ``prctl`` that sets the signal which a process gets when its parent ends."""

KERNEL_KILLS_ORPHANS = sys.platform == "linux"
"""Whether a worker has the kernel kill it at once with its driver; elsewhere its guard does, see `_start_guard`."""


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A worker, this process's end of the connection to it, and what ends its group with this process.

    A worker leads a process group, in which what a plugin starts stays when the worker has ended.
    """

    process: subprocess.Popen[bytes]
    wire: Connection
    guard: subprocess.Popen[bytes]

    @classmethod
    def start(cls, serve: Serve, *, threads: int) -> WorkerProcess:
        """Start a worker that calls `serve`, and whose libraries use `threads` CPU threads.

        Raises:
            OSError: It cannot be started.
        """
        runner_end, worker_end = multiprocessing.Pipe(duplex=True)
        # Only the worker may hold its end open: its death then closes the connection.
        with worker_end:
            process = subprocess.Popen(
                _worker_command(serve, worker_end.fileno()),
                pass_fds=[worker_end.fileno()],
                env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **worker_variables(threads)},
                # The standard input of the runner may be the script that it runs.
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        return cls(process, runner_end, _start_guard(process.pid))

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended and left no message."""
        return self.process.poll() is not None and not self.wire.poll()

    def hang_up(self, *, grace: float) -> None:
        """Close the connection, and kill the worker if it has not ended within `grace` seconds.

        What it has started is killed at once: no job runs that could need it.
        """
        self._kill_descendants()
        self.wire.close()
        self._wait_for_exit(grace)
        self.kill()

    def kill(self) -> None:
        """Kill the worker and the processes that it has started."""
        self._kill_descendants()
        self.wire.close()
        self.process.kill()
        self.process.wait()
        # Those whose parent, such as the worker, had ended before.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.guard.kill()
        self.guard.communicate()

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

    def _kill_descendants(self) -> None:
        if self.process.poll() is None:
            kill_descendants(self.process.pid)

    def _wait_for_exit(self, seconds: float) -> None:
        """Wait until the process has ended, for at most `seconds`."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds)


def begin_worker(driver: int) -> None:
    """Prepare this process to serve the process `driver`, and to end when that has ended."""
    # A terminal sends Ctrl-C, and its own end, to all processes of its group; only the driver decides
    # what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # At once, also within C code that holds the GIL.
    if KERNEL_KILLS_ORPHANS:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_driver, args=(driver,), daemon=True).start()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The kernel kills this process with its driver: what a plugin prints must not wait in a buffer.
        sys.stdout.reconfigure(line_buffering=True)


def _watch_driver(driver: int) -> None:
    """Exit when the runner has ended: on other systems, or where it ended before ``prctl`` was called."""
    pause = threading.Event()
    while os.getppid() == driver:
        pause.wait(0.5)
    os._exit(1)


def _start_guard(worker: int) -> subprocess.Popen[bytes]:
    """Start a shell that kills a worker's group when this process, which holds the other end of its pipe, has ended.

    A thread of the worker could not do that while C code holds the GIL, nor once the worker has ended.
    """
    return subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            "trap '' INT HUP TERM; read ended; kill -s KILL $1; kill -s KILL -- -$1",
            "guard",
            str(worker),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _worker_command(serve: Serve, descriptor: int) -> list[str]:
    """Return the command that starts a worker; `descriptor` is its end of the connection.

    Not a `multiprocessing.Process`: that would import the `__main__` of the runner, which may be a
    script without ``if __name__ == "__main__"``, come from standard input, or be a notebook.
    """
    code = (
        f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}; "
        "from multiprocessing.connection import Connection; "
        f"from {serve.__module__} import {serve.__name__} as serve; "
        f"serve(Connection({descriptor}), {os.getpid()})"
    )
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # not in typeshed
    return [sys.executable, *flags, "-c", code]
