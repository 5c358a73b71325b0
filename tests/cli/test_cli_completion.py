"""Completion in real shells: commands, options, suites, components and runs."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer.cli import main

STARTS = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
SETUPS = {
    "bash": "",
    "zsh": "autoload -U compinit && compinit -u -D\n",
}
READY, PATIENCE_SECONDS = "--ready--", 120.0

CASES = [
    ("advtransfer sta", "advtransfer status"),
    ("advtransfer run --jo", "advtransfer run --jobs"),
    ("advtransfer run quickst", "advtransfer run quickstart"),
    ("advtransfer run mine/ow", "advtransfer run mine/own.yaml"),
    ("advtransfer show foolbox/deepf", "advtransfer show foolbox/deepfool"),
    ("advtransfer status runs/t", "advtransfer status runs/toy"),
]


def require_shell(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name}; install it: apt-get install {name} [shell]")


@pytest.fixture
def shell_environment(tmp_path: Path) -> dict[str, str]:
    """A PATH with a command `advtransfer` of this interpreter, and a folder with a suite and a run."""
    command = tmp_path / "bin" / "advtransfer"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m advtransfer "$@"\n')
    command.chmod(0o755)
    work = tmp_path / "work"
    (work / "runs" / "toy").mkdir(parents=True)
    (work / "runs" / "toy" / "plan.json").touch()
    (work / "mine").mkdir()
    (work / "mine" / "own.yaml").touch()
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "PWD": str(work)}


class Terminal:
    """An interactive shell on a pseudo-terminal."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.master, follower = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment,
            cwd=environment["PWD"],
            start_new_session=True,
        )
        os.close(follower)
        self.output = ""

    def write(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, text: str) -> None:
        """Read until a text is in the output; fail after `PATIENCE_SECONDS`."""
        end = time.monotonic() + PATIENCE_SECONDS
        while text not in self.output:
            readable, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert readable, f"expected {text!r} in {self.output!r}"
            self.output += os.read(self.master, 4096).decode(errors="replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_words_in_a_real_shell(shell: str, shell_environment: dict[str, str]) -> None:
    require_shell(shell)
    terminal = Terminal(STARTS[shell], shell_environment)
    try:
        # The text is cut in two, so that the echo of the line is not taken for its output.
        ready = f'echo "{READY[:4]}""{READY[4:]}"\n'
        terminal.write(SETUPS[shell] + f'eval "$(advtransfer completion {shell})"\n' + ready)
        terminal.read_until(READY)
        for written, completed in CASES:
            terminal.output = ""
            terminal.write(f"{written}\t")
            terminal.read_until(completed)
            terminal.write("\x15")  # Ctrl-U: an empty line for the next case
    finally:
        terminal.close()


def test_fish_completes_words(shell_environment: dict[str, str]) -> None:
    require_shell("fish")
    lines = [f'complete -C "{written}"; echo "=="' for written, _ in CASES]
    script = "\n".join(["advtransfer completion fish | source", *lines])
    told = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        env=shell_environment,
        cwd=shell_environment["PWD"],
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    *answers, _ = told.stdout.split("==\n")

    for answer, (_, completed) in zip(answers, CASES, strict=True):
        words = [line.partition("\t")[0] for line in answer.splitlines()]
        assert completed.rpartition(" ")[2] in words


def test_another_shell_is_refused() -> None:
    told = CliRunner().invoke(main, ["completion", "tcsh"])

    assert told.exit_code == 2
    assert "bash" in told.stderr


def test_completing_does_not_import_torch(shell_environment: dict[str, str]) -> None:
    code = (
        "import sys\n"
        "from advtransfer.cli.completions import complete_suite_or_component\n"
        "items = complete_suite_or_component(None, None, '')\n"
        "print(len(items) > 50, 'torch' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.split() == ["True", "False"]
