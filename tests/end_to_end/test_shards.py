"""Four drivers that share one run folder: one is killed, one stands still for longer than its lease and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]

SHORT_LEASES = '''\
"""Leases of 3 s, and records that take long to reach the disk: a signal comes in the middle of a job."""
import os, time
from advtransfer.cache import lock
lock.LEASE_SECONDS = 3.0
_fsync = os.fsync
def fsync(file):
    if "/records/" in os.readlink(f"/proc/self/fd/{file}"):
        time.sleep(0.3)
    _fsync(file)
os.fsync = fsync
'''


def claimed_by(run: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until a worker of a driver holds the claim of a fit; return the claim."""
    while process.poll() is None:
        for path in run.glob("claims/jobs/*/[!.]*"):
            try:
                pid = json.loads(path.read_text())["owner"]["pid"]
                if os.getsid(pid) == process.pid:
                    return path
            except (OSError, ValueError):  # released meanwhile, or being written
                continue
        time.sleep(0.01)
    raise AssertionError(process.communicate()[0])


def signal_all(driver: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a driver, then to its workers, each of which leads a process group of its own."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    for pid in sorted(pids, key=lambda pid: pid != driver.pid):
        with suppress(ProcessLookupError):
            if os.getsid(pid) == driver.pid:
                os.kill(pid, number)


def events_of(run: Path) -> list[dict[str, Any]]:  # Any: events are as varied as what happens
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_four_shards_record_every_trial_once_when_one_is_killed_and_one_stands_still(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    whole = command_in("whole")
    whole("run", "small.yaml", "--quiet", "--jobs", "1")
    command = command_in("shards")
    site = command.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SHORT_LEASES)
    path = os.pathsep.join([str(site), *filter(None, [command.environment.get("PYTHONPATH")])])
    run = command.folder / "runs" / "small"
    one, stopped, killed, four = (
        command.start("run", "small.yaml", "--jobs", "1", "--shard", f"{index}/4", PYTHONPATH=path)
        for index in range(1, 5)
    )

    claim = claimed_by(run, stopped)
    signal_all(stopped, signal.SIGSTOP)
    token = json.loads(claim.read_text())["token"]
    claimed_by(run, killed)
    signal_all(killed, signal.SIGKILL)
    killed.communicate()
    deadline = time.monotonic() + 120
    while claim.exists() and json.loads(claim.read_text())["token"] == token:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    signal_all(stopped, signal.SIGCONT)
    outputs = [process.communicate(timeout=240)[0] for process in (one, stopped, four)]

    assert [0, 0, 0] == [process.returncode for process in (one, stopped, four)], outputs
    assert records_of(whole.folder / "runs" / "small") == records_of(run)
    assert [] == list(run.glob("attempts/*/*"))
    assert [] == list(run.glob("claims/jobs/*/[!.]*"))
    events = events_of(run)
    ends = Counter(event["id"] for event in events if event["event"] == "job_finished")
    trials = Counter(event["trial"]["id"] for event in events if event["event"] == "trial_finished")
    assert {1} == set(ends.values()) == set(trials.values())
    assert "claim_lost" in {event["event"] for event in events}
    assert "claim lost: found job" in outputs[1]
    assert "12 done" in (run / "leaderboard.md").read_text()
