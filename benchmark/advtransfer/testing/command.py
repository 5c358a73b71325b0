"""The command line as a user calls it, for tests of whole runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """``advtransfer`` as a user calls it, in a given folder and environment."""

    folder: Path
    environment: Mapping[str, str]

    def __call__(
        self, *arguments: str, exit_code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code.

        Args:
            *arguments: The arguments after ``advtransfer``.
            exit_code: The expected exit code.
            **variables: Environment variables, added to those of the environment.
        """
        completed = subprocess.run(
            self.line(*arguments),
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        output = f"{completed.stdout}\n{completed.stderr}"
        assert completed.returncode == exit_code, f"exit code {completed.returncode}\n{output}"
        return completed

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command in a new process group, so that a test can interrupt or kill it all."""
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
        """Return the command line to execute."""
        return [sys.executable, "-m", "advtransfer", *arguments]


def _restore_interrupts() -> None:
    """Let the new process receive Ctrl-C."""
    # A shell's background processes ignore it, and so does every process that they start.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
