"""Identity of a process: whether the owner of a lock or of a temporary file is still alive."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# A killed process that its parent has not yet waited for is a zombie (Z) or dead (X).
DEAD_STATES = {"Z", "X"}

STAT_START_TIME = 18
"""Index of ``starttime`` (field 22 of ``/proc/<pid>/stat``) among the fields after the state."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process: its host (with the pid namespace), its pid, and its start time (with the boot id).

    A pid alone does not identify a process, because the system uses pids again.
    """

    host: str
    pid: int
    start: str

    @classmethod
    def current_process(cls) -> ProcessId:
        """Return the id of the calling process."""
        return _identify(os.getpid())

    @property
    def host_name(self) -> str:
        """The host's name alone."""
        return self.host.partition(" ")[0]

    def is_alive(self) -> bool | None:
        """Return whether the process still runs; None for a process of another host."""
        if self.host != host_identity():
            return None
        return process_start(self.pid) == self.start


@lru_cache(maxsize=1)
def _identify(pid: int) -> ProcessId:
    """Return the id of this process; a fork has another pid, and so one of its own."""
    return ProcessId(host_identity(), pid, process_start(pid) or "")


def host_identity() -> str:
    """Return the host's name with the pid namespace, since every container has its own pids."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # A system without /proc has no containers that share a host name.
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """Return the start of a process of this host as ``"<boot id> <clock ticks>"``.

    ``""`` on a system without /proc; None when the process has ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        has_proc = Path("/proc/self/stat").exists()
        return "" if not has_proc and _pid_exists(pid) else None
    # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in DEAD_STATES else f"{boot_id} {fields[STAT_START_TIME]}"


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # The process runs under another user.
        return True
    return True
