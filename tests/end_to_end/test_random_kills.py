"""SIGKILLs at random moments of workers, drivers and whole groups: no record is lost, made twice or another one."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.worker.process import SCRATCH_NAME

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]
CommandIn = Callable[[str], "Command"]
SUITE = """\
version: 1
datasets: {d: {use: vision/digits, classes: [0, 1, 2]}}
sources:
  natural: {use: vision/trained, data: d, network: small_cnn, width: 4, epochs: 2}
  random: {use: vision/random_init, data: d, network: small_cnn, width: 4}
targets: {t: {data: d, n: [20], seeds: 2, test: 40}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.05}
"""
VICTIMS = ("worker", "driver", "group")
DEADLINE = 10.0
"""Seconds until every process of a killed driver has ended, and until a run begins work (5 s) on a busy machine."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc [fork]")


def session_of(process: subprocess.Popen[str]) -> dict[int, str]:
    """The processes of a session that still run, with their command lines."""
    running = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = folder.joinpath("stat").read_text().rpartition(")")[2].split()
            command = folder.joinpath("cmdline").read_text()
        except OSError:
            continue
        if int(state[3]) == process.pid and state[0] not in "ZX":
            running[int(folder.name)] = command
    return running


def kill(process: subprocess.Popen[str], victim: str) -> bool:
    """Kill a worker, the driver or the whole group; whether there was one."""
    match victim:
        case "worker":
            workers = [pid for pid, line in session_of(process).items() if "serve_jobs" in line]
            if not workers:
                return False
            os.kill(random.choice(workers), signal.SIGKILL)
        case "driver":
            process.kill()
        case "group":
            os.killpg(process.pid, signal.SIGKILL)
    return True


def wait_for_end(process: subprocess.Popen[str]) -> None:
    """Wait until no process of a killed driver runs."""
    deadline = time.monotonic() + DEADLINE
    process.communicate()
    while session_of(process):
        assert time.monotonic() < deadline, session_of(process)
        time.sleep(0.01)


def first_job_waits(run: Path) -> list[float]:
    """Seconds from the start of the last driver to its first job, workers' start included; none if it began none."""
    waits: list[float] = []
    started = None
    for line in (
        (run / "events.jsonl").read_text().splitlines() if (run / "events.jsonl").exists() else []
    ):
        with contextlib.suppress(ValueError):  # a driver was killed within a line
            event = json.loads(line)
            if event["event"] == "run_started":
                started, waits = event["time"], []
            elif event["event"] == "job_started" and started is not None and not waits:
                waits = [event["time"] - started]
    return waits


@dataclass
class Storm:
    """Kills over runs of one suite, each continued until it is whole.

    `written` holds the inode of every record when it was first seen: one that is made again gets another.
    """

    suite: str
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    written: dict[Path, int] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)

    def look(self, run: Path) -> None:
        """Remember the records that there are, and require those seen before to be the same files."""
        for path, inode in self.written.items():
            assert path.stat().st_ino == inode, f"{path} was written twice"
        for path in run.glob("records/*/[0-9a-f]*.json"):
            self.written.setdefault(path, path.stat().st_ino)

    def run_through(self, command: Command, seconds: float) -> Path:
        """Kill and continue runs in one folder until one ends by itself; return the run folder."""
        run = command.folder / "runs" / Path(self.suite).stem
        self.written.clear()
        while True:
            begun = time.monotonic()
            process = command.start("run", self.suite, "--quiet", "--jobs", "2")
            victim = self.chance.choice(VICTIMS)
            until = begun + self.chance.uniform(0, seconds)
            while time.monotonic() < until and process.poll() is None:
                time.sleep(0.01)
            if process.poll() is None and kill(process, victim):
                self.kills[victim] += 1
            if victim == "worker":
                process.wait(timeout=300)
            ended = process.poll() == 0
            wait_for_end(process)
            self.look(run)
            self.waits += first_job_waits(run)
            if ended:
                return run


def storm(
    command_in: CommandIn, records_of: Records, suite: str, *, kills: int, seed: int
) -> Storm:
    """Kill at least so many processes; every run ends with the records of an undisturbed one."""
    undisturbed = command_in("undisturbed")
    (undisturbed.folder / "tiny.yaml").write_text(SUITE)
    begun = time.monotonic()
    undisturbed("run", suite, "--quiet", "--jobs", "2")
    seconds = time.monotonic() - begun
    expected = records_of(undisturbed.folder / "runs" / Path(suite).stem)
    weather = Storm(suite, random.Random(seed))
    for number in itertools.count():
        command = command_in(f"killed{number}")
        (command.folder / "tiny.yaml").write_text(SUITE)
        run = weather.run_through(command, seconds)
        assert expected == records_of(run)
        command("run", suite, "--quiet")  # the next run removes what killed writers have left
        assert [] == [path for path in run.rglob("*.tmp") if "/claims/" not in str(path)]
        if weather.kills.total() >= kills:
            return weather
    raise AssertionError


def scratch_folders() -> set[Path]:
    """The scratch folders of all workers of this machine, dead ones too."""
    return set(Path(tempfile.gettempdir()).glob(f".{SCRATCH_NAME}.*.tmp"))


def test_three_killed_processes_lose_nothing(
    command_in: CommandIn, records_of: Records, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    weather = storm(command_in, records_of, "tiny.yaml", kills=3, seed=1)

    assert weather.kills.total() >= 3
    assert scratch_folders() == set()


@pytest.mark.nightly
@pytest.mark.parametrize("suite", ["tiny.yaml", "quickstart"])
def test_a_hundred_killed_processes_lose_nothing(
    command_in: CommandIn,
    records_of: Records,
    suite: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    weather = storm(command_in, records_of, suite, kills=100, seed=0)

    assert set(weather.kills) == set(VICTIMS)
    assert scratch_folders() == set()
    assert max(weather.waits) < DEADLINE
