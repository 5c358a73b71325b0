"""Memory and state of a process and its descendants, read from ``/proc``."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

HAS_PROC = Path("/proc/self/statm").is_file()
"""Whether this system tells the memory of other processes, as Linux does."""

_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def descendants(pid: int) -> list[int]:
    """Return the processes below a process; those whose parent has ended are not among them."""
    found: list[int] = []
    with suppress(OSError):  # The process has ended.
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def memory_in_use(pid: int, *, limit: int) -> int:
    """Return the bytes of memory that a process and its descendants hold; 0 where it has ended.

    Resident memory counts what forked processes share once for each of them, so a sum above `limit`
    is counted again by shares.
    """
    processes = [pid, *descendants(pid)]
    resident = sum(map(_resident_bytes, processes))
    if resident <= limit or len(processes) == 1:
        return resident
    return sum(map(_proportional_bytes, processes))


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped a process, until SIGCONT."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"
    return False


def kill_descendants(pid: int) -> None:
    """Kill the processes below a process."""
    for child in descendants(pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _resident_bytes(pid: int) -> int:
    with suppress(OSError):
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _proportional_bytes(pid: int) -> int:
    with suppress(OSError):
        share = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        return int(share[1]) * 1024 if share else 0
    return 0
