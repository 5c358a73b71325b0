"""A second process shows the run of a first one, with the same counts, and ends with its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

COUNTS = re.compile(r"\d+ trials: \d+ done, \d+ failed, \d+ skipped, \d+ to do")


def trial_lines(output: str) -> list[str]:
    """The lines of trials, without the seconds."""
    return [line.rpartition("  ")[0] for line in output.splitlines() if line.startswith("[")]


def wait_for_trial(run: Path) -> None:
    deadline = time.monotonic() + 120
    log = run / "events.jsonl"
    while not (log.exists() and '"trial_finished"' in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_watch_shows_the_counts_of_the_driver_and_a_second_driver_is_refused(
    command_in: Callable[[str], Command],
) -> None:
    command = command_in("watched")
    driver = command.start("run", "small.yaml", "--jobs", "1")
    wait_for_trial(command.folder / "runs" / "small")
    watch = command.start("run", "small.yaml", "--watch")
    refused = command("run", "small.yaml", exit_code=2).stderr
    status = command("status", "runs/small", "--json").stdout
    interrupted = command.start("run", "small.yaml", "--watch")
    time.sleep(2)
    os.killpg(interrupted.pid, signal.SIGINT)
    gone, _ = interrupted.communicate(timeout=60)
    shown, _ = watch.communicate(timeout=240)
    driven, _ = driver.communicate(timeout=240)

    assert [0, 0] == [driver.returncode, watch.returncode], shown
    assert trial_lines(driven) == trial_lines(shown)
    assert 12 == len(trial_lines(shown))
    assert COUNTS.findall(driven) == COUNTS.findall(shown)
    assert driven.splitlines()[-2:] == shown.splitlines()[-2:]
    assert f"held by process {driver.pid} on" in refused
    assert "--watch" in refused
    assert 12 == sum(json.loads(status)[name] for name in ("done", "failed", "skipped", "todo"))
    assert "the view has ended; the run goes on" in gone
    assert 130 == interrupted.returncode


def test_nothing_at_work_cannot_be_watched(command_in: Callable[[str], Command]) -> None:
    command = command_in("idle")
    (command.folder / "runs" / "small").mkdir(parents=True)
    (command.folder / "runs" / "small" / "plan.json").write_text("{}")

    assert "found no run at work" in command("run", "small", "--watch", exit_code=2).stderr
    message = command("run", "small", "--watch", "--jobs", "2", exit_code=2).stderr
    assert "found --watch with --jobs" in message
