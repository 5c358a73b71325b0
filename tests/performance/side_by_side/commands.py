"""Cost of a command as a user meets it, with its start and imports."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one command: wall and CPU seconds, and the peak memory of its process."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure_command(folder: Path, *arguments: str) -> Cost:
    """Run a command of advtransfer in a process of its own, and return its cost."""
    command = [sys.executable, "-m", "advtransfer", *arguments]
    environment = {**os.environ, "ADVTRANSFER_CACHE": str(folder / "cache")}
    began = time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        redirect = [
            (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
        ]
        pid = os.posix_spawn(command[0], command, environment, file_actions=redirect)
        _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{arguments} failed:\n{(folder / 'output.txt').read_text()[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
