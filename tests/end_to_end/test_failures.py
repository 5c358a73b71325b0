from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

pytestmark = pytest.mark.usefixtures("faulty")


def with_transfer(command: Command, transfer: str) -> None:
    path = command.folder / "small.yaml"
    path.write_text(
        path.read_text().replace("  probe: {use: finetune/linear_probe}", f"  probe: {transfer}")
    )


ONLY = ("--only", "source=random,seed=0", "--battery", "none", "--json")
"""A subset of 20 images and one of 30, without batteries."""


def attempts(command: Command) -> list[dict[str, Any]]:  # Any: JSON that the command wrote
    return [
        json.loads(path.read_text())
        for path in (command.folder / "runs" / "small").glob("attempts/*/*.json")
    ]


def test_a_failing_trial_is_an_attempt_with_its_traceback_and_the_rest_go_on(
    command: Command, inline: Callable[..., Result]
) -> None:
    with_transfer(command, "{use: faulty/raises}")
    ended = json.loads(inline("run", "small.yaml", *ONLY, exit_code=1).stdout)
    tried = attempts(command)
    status = inline("status", "runs/small").stdout
    page = (command.folder / "runs" / "small" / "leaderboard.md").read_text()

    assert (ended["done"], ended["failed"]) == (1, 1)
    assert {one["reason"] for one in tried} == {"RuntimeError: no luck"}
    assert all("raise RuntimeError(message)" in one["traceback"] for one in tried)
    assert "RuntimeError: no luck" in status
    assert "no luck" in page


@pytest.mark.slow
def test_what_failed_is_tried_again_by_the_same_command(command: Command) -> None:
    with_transfer(command, "{use: faulty/raises}")
    command("run", "small.yaml", "--only", "source=random,n=20,seed=0", "--quiet", exit_code=1)
    command("run", "small.yaml", "--only", "source=random,n=20,seed=0", "--quiet", exit_code=1)

    assert len(attempts(command)) == 2


@pytest.mark.slow
def test_a_diverged_fit_is_failed_for_good_until_asked_again(command: Command) -> None:
    with_transfer(command, "{use: faulty/diverges}")
    only = ("--only", "source=random,n=20,seed=0", "--quiet")
    command("run", "small.yaml", *only, exit_code=1)
    command("run", "small.yaml", *only, exit_code=1)
    once = len(attempts(command))
    command("run", "small.yaml", *only, "--retry-failed", exit_code=1)

    assert once == 1
    assert len(attempts(command)) == 2
    assert attempts(command)[0]["reason"] == "diverged in epoch 3: loss inf"


@pytest.mark.slow
def test_a_cell_that_makes_no_sense_is_skipped_with_its_reason(command: Command) -> None:
    with_transfer(command, "{use: faulty/refuses}")
    ended = json.loads(command("run", "small.yaml", "--only", "source=random", "--json").stdout)
    plan = json.loads(command("plan", "small.yaml", "--json").stdout)

    assert (ended["done"], ended["failed"], ended["skipped"]) == (0, 0, 6)
    assert [trial["state"] for trial in plan["trials"]].count("skipped") == 6


def test_a_worker_killed_once_loses_nothing(command: Command) -> None:
    with_transfer(
        command, f"{{use: faulty/dies, always: false, marker: {command.folder / 'died'}}}"
    )
    # One worker, which is killed and replaced: a second one would show no more.
    ended = json.loads(command("run", "small.yaml", *ONLY, "--jobs", "1").stdout)

    assert (ended["done"], ended["failed"]) == (2, 0)
    assert (command.folder / "died").exists()


@pytest.mark.slow
def test_a_job_that_always_kills_its_worker_is_lost_and_the_others_are_done(
    command: Command,
) -> None:
    path = command.folder / "small.yaml"
    killer = f"  killer: {{use: faulty/dies, marker: {command.folder / 'died'}, only: {{n: 20, seed: 0}}}}\n"
    path.write_text(path.read_text().replace("evaluations:\n", f"{killer}evaluations:\n"))
    ended = json.loads(
        command("run", "small.yaml", "--only", "source=random", "--json", exit_code=1).stdout
    )

    assert (ended["done"], ended["failed"]) == (6, 1)
    assert [one["status"] for one in attempts(command)] == ["lost"]
    assert "died 3 times" in attempts(command)[0]["reason"]


def alive(group: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def ended(group: int, *, seconds: float) -> bool:
    """Whether no process of a session is left within so many seconds."""
    deadline = time.monotonic() + seconds
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(group)


def wait_for(path: Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not any(path.glob(pattern)):
        assert time.monotonic() < deadline, f"nothing like {pattern} appeared"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "send"),
    [
        (signal.SIGINT, os.kill),
        pytest.param(signal.SIGTERM, os.kill, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, os.killpg, marks=pytest.mark.slow),
    ],
    ids=["interrupted", "terminated", "its terminal closed"],
)
def test_an_interrupted_run_ends_cleanly_and_says_how_to_go_on(
    command: Command, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    with_transfer(command, "{use: faulty/lingers, seconds: 30}")
    process = command.start("run", "small.yaml", "--jobs", "2")
    wait_for(command.folder, "runs/small/records/*/*.json")
    send(process.pid, number)
    try:
        said = process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise

    assert process.returncode == 130
    assert "same command" in said
    assert ended(process.pid, seconds=5)
    assert attempts(command) == []


def test_workers_end_when_their_driver_is_killed(command: Command) -> None:
    with_transfer(command, "{use: faulty/lingers, seconds: 30}")
    with command.start("run", "small.yaml", "--jobs", "2") as process:
        wait_for(command.folder, "runs/small/records/*/*.json")
        os.kill(process.pid, signal.SIGKILL)

    assert ended(process.pid, seconds=20)
