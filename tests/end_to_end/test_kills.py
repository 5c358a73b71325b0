"""Runs killed at any moment, all their processes at once, end after a resume as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command  # type: ignore[import-not-found]  # pytest loads conftest files, mypy does not

Records = Callable[[Path], dict[str, str]]
KILLS = 10

SLOW_WRITES = '''\
"""Makes each record take long to reach the disk, so that a kill can come in the middle of it."""
import os, time
_fsync = os.fsync
def fsync(file):
    if "/records/" in os.readlink(f"/proc/self/fd/{file}"):
        time.sleep(0.05)
    _fsync(file)
os.fsync = fsync
'''


def alive(group: int) -> list[str]:
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] not in "ZX":
            found.append(stat.parent.name)
    return found


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert alive(process.pid) == []


def same(command: Command, reference: Path, name: str, records_of: Records) -> None:
    """The run ended as the uninterrupted one did, the page too (its seconds aside: they are observed)."""
    run = command.folder / "runs" / name
    shutil.rmtree(command.folder / "reference", ignore_errors=True)
    shutil.copytree(reference, command.folder / "reference")

    assert records_of(run) == records_of(reference)
    assert not list(run.glob("attempts/*/*"))
    pages = []
    for folder in (run, command.folder / "reference"):
        forget(folder)
        command("leaderboard", str(folder))
        pages.append(((folder / "leaderboard.md").read_bytes(), [p.read_bytes() for p in sorted(folder.glob("*.svg"))]))
    assert pages[0] == pages[1]


def forget(run: Path) -> None:
    """Take from a run's records what was observed, which may differ."""
    import json

    for path in run.glob("records/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"observed": {}}))


def killed_at_ten_moments(
    command_in: Callable[[str], Command], suite: str, records_of: Records
) -> tuple[list[int], list[int]]:
    """Kill ten runs at moments uniform over a run's length, and resume each; gives the records and writes found."""
    reference = command_in("reference")
    began = time.monotonic()
    reference("run", suite, "--quiet")
    length = time.monotonic() - began
    name = Path(suite).stem
    found, torn = [], []
    for number in range(KILLS):
        command = command_in(f"killed{number}")
        site = command.folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SLOW_WRITES)
        variables = {"PYTHONPATH": str(site)} if number == KILLS // 2 else {}
        process = command.start("run", suite, "--quiet", **variables)
        run = command.folder / "runs" / name
        if variables:
            while not list(run.glob("records/*/.*.tmp")):
                assert process.poll() is None
        else:
            time.sleep(length * (number + 0.5) / KILLS)
        kill(process)
        found.append(len(list(run.glob("records/*/[0-9a-f]*.json"))))
        torn.append(len(list(run.glob("records/*/.*.tmp"))))
        command("run", suite, "--quiet")
        same(command, reference.folder / "runs" / name, name, records_of)
    return found, torn


def test_a_small_run_killed_at_ten_moments_ends_as_if_it_had_not_been(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    found, torn = killed_at_ten_moments(command_in, "small.yaml", records_of)

    assert sum(count > 0 for count in found) >= 3, found
    assert any(torn), torn


@pytest.mark.slow
def test_the_quickstart_killed_at_ten_moments_ends_as_if_it_had_not_been(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    found, torn = killed_at_ten_moments(command_in, "quickstart", records_of)

    assert sum(count > 0 for count in found) >= 3, found
    assert any(torn), torn
