"""The command line as a user types it, for tests of whole runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """`advtransfer` as a user calls it, in a folder and an environment of its own."""

    folder: Path
    environment: Mapping[str, str]

    def __call__(
        self, *arguments: str, exit_code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; the exit code must be the one expected."""
        done = subprocess.run(
            self.line(*arguments),
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == exit_code, (
            f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start in a process group of its own, so that a test can interrupt it, or kill all of it."""
        return subprocess.Popen(
            self.line(*arguments),
            cwd=self.folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_restore_interrupts,
        )

    @staticmethod
    def line(*arguments: str) -> list[str]:
        """What is executed."""
        return [sys.executable, "-m", "advtransfer", *arguments]


def _restore_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
