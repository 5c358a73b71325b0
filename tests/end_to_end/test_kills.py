"""Runs killed at any moment, all their processes at once, end after a resume as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]

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


def page_of(command: Command, run: Path) -> list[bytes]:
    """The page and its figures, made again from the records without what was observed, such as seconds."""
    for path in run.glob("records/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"observed": {}}))
    command("leaderboard", str(run))
    return [path.read_bytes() for path in (run / "leaderboard.md", *sorted(run.glob("*.svg")))]


def wait_for(run: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    while not any(run.glob(pattern)):
        assert process.poll() is None


def seconds_of_recording(run: Path) -> float:
    """From the first record of a run to the last."""
    times = [path.stat().st_mtime for path in run.glob("records/*/*.json")]
    return max(times) - min(times)


def killed(
    command_in: Callable[[str], Command],
    suite: str,
    records_of: Records,
    *,
    anywhere: int,
    recording: int,
) -> tuple[list[int], list[int]]:
    """Kill a run within a write, some `anywhere`, and some while they are `recording`, at uniform moments; resume each.

    Gives how many records and begun writes each kill left.
    """
    reference = command_in("reference")
    began = time.monotonic()
    reference("run", suite, "--quiet")
    length = time.monotonic() - began
    name = Path(suite).stem
    whole = reference.folder / "runs" / name
    seconds = seconds_of_recording(whole)
    made, page = records_of(whole), page_of(reference, whole)
    found, torn = [], []
    for number in range(1 + anywhere + recording):
        command = command_in(f"killed{number}")
        site = command.folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SLOW_WRITES)
        variables = {"PYTHONPATH": str(site)} if number == 0 else {}
        process = command.start("run", suite, "--quiet", **variables)
        run = command.folder / "runs" / name
        if number == 0:  # within a write
            wait_for(run, "records/*/.*.tmp", process)
        elif number <= anywhere:  # most of a small run is the workers' start
            time.sleep(length * (number - 0.5) / anywhere)
        else:
            wait_for(run, "records/*/[0-9a-f]*.json", process)
            time.sleep(seconds * (number - anywhere - 1) / recording)
        kill(process)
        found.append(len(list(run.glob("records/*/[0-9a-f]*.json"))))
        torn.append(len(list(run.glob("records/*/.*.tmp"))))
        command("run", suite, "--quiet")

        assert made == records_of(run)
        assert page == page_of(command, run)
        assert [] == list(run.glob("attempts/*/*"))
    return found, torn


@pytest.mark.slow
def test_a_small_run_killed_within_a_write_ends_as_if_it_had_not_been(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    _, torn = killed(command_in, "small.yaml", records_of, anywhere=0, recording=0)

    assert any(torn), torn


@pytest.mark.parametrize(
    "suite",
    [
        pytest.param("small.yaml", marks=pytest.mark.slow),
        pytest.param("quickstart", marks=pytest.mark.nightly),  # ten times the quickstart
    ],
)
def test_a_run_killed_at_ten_moments_ends_as_if_it_had_not_been(
    command_in: Callable[[str], Command], records_of: Records, suite: str
) -> None:
    found, torn = killed(command_in, suite, records_of, anywhere=5, recording=4)

    assert sum(count > 0 for count in found) >= 3, found
    assert any(torn), torn
