"""Which process holds something, and whether it still runs: the pid alone is not enough, since pids are used again."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

GONE = {"Z", "X"}  # states of a process that was killed and that nobody has waited for


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: the host (with its pid namespace), the pid, and when the process started (with the boot)."""

    host: str
    pid: int
    start: str

    @classmethod
    def me(cls) -> Owner:
        """The calling process."""
        return cls(this_host(), os.getpid(), started(os.getpid()) or "")

    def alive(self) -> bool | None:
        """Whether the process still runs; None when it is on another host, where nobody here can tell."""
        return None if self.host != this_host() else started(self.pid) == self.start


def this_host() -> str:
    """The host's name and the pid namespace (a container has its own pids)."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no /proc: a system without containers that share a host name
        return socket.gethostname()


def started(pid: int) -> str | None:
    """When a process of this host started, as ``"<boot> <ticks>"``; ``""`` where there is no /proc; None when gone."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "" if not Path("/proc/self/stat").exists() and _answers(pid) else None
    return None if state in GONE else f"{boot} {fields[18]}"


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as somebody else
        return True
    return True
