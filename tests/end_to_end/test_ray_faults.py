"""Faults of jobs on Ray: what is tried again and what is not, an interrupt, and more than the cluster has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

pytest.importorskip("ray", reason="[ray] ray is not installed")
pytestmark = pytest.mark.slow

SUITE = """\
datasets: {d: {use: vision/digits, classes: [0, 1]}}
sources: {s: {use: vision/random_init, data: d, network: small_cnn, width: 2}}
targets: {t: {data: d, n: 20, test: 20}}
transfers:
  probe: {use: finetune/linear_probe}
  other: OTHER
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""
ON_RAY = ["--executor", "ray/cluster", "--engine", "address=local,retries=1", "--jobs", "1"]


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setitem(command.environment, "RAY_AUTH_MODE", "disabled")
    return command


def write_suite(command: Command, other: str) -> Path:
    (command.folder / "small.yaml").write_text(SUITE.replace("OTHER", other))
    return command.folder / "runs" / "small"


def begin(command: Command, *arguments: str) -> subprocess.Popen[str]:
    environment = {**command.environment, "PYTHONPATH": os.environ["PYTHONPATH"]}
    return subprocess.Popen(
        [sys.executable, "-m", "advtransfer", "run", "small.yaml", *ON_RAY, *arguments],
        cwd=command.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def attempts_of(run: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(run.glob("attempts/*/*.json"))]


def fit_began(run: Path) -> bool:
    events = run / "events.jsonl"
    return events.exists() and '"event": "trial_started"' in events.read_text()


@pytest.mark.usefixtures("faulty")
def test_a_job_whose_worker_dies_once_is_tried_again(here: Command) -> None:
    marker = here.folder / "died"
    run = write_suite(here, f"{{use: faulty/dies, always: false, marker: {marker}}}")

    assert "2 done, 0 failed" in ended(begin(here), 0)
    assert marker.exists()
    assert attempts_of(run) == []


@pytest.mark.usefixtures("faulty")
def test_a_job_whose_worker_always_dies_fails_alone(here: Command) -> None:
    run = write_suite(here, f"{{use: faulty/dies, marker: {here.folder / 'died'}}}")

    assert "1 done, 1 failed" in ended(begin(here), 1)
    (attempt,) = attempts_of(run)
    assert "its worker died more than 1 times" in str(attempt["reason"])


@pytest.mark.usefixtures("faulty")
def test_an_exception_is_not_tried_again(here: Command) -> None:
    run = write_suite(here, "{use: faulty/raises}")

    assert "1 done, 1 failed" in ended(begin(here), 1)
    (attempt,) = attempts_of(run)
    assert attempt["reason"] == "RuntimeError: no luck"


@pytest.mark.usefixtures("faulty")
def test_an_interrupt_cancels_and_the_next_run_continues(here: Command) -> None:
    run = write_suite(here, "{use: faulty/lingers, seconds: 600.0}")
    process = begin(here)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not fit_began(run):
        time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)

    assert "interrupted" in ended(process, 130)
    assert time.monotonic() - began < 40
    assert attempts_of(run) == []


@pytest.mark.usefixtures("faulty")
def test_a_time_limit_holds_in_workers_of_ray(here: Command) -> None:
    run = write_suite(here, "{use: faulty/lingers, seconds: 600.0}")

    assert "1 done, 1 failed" in ended(begin(here, "--timeout", "5s"), 1)
    (attempt,) = attempts_of(run)
    assert "at its time limit of 5s" in str(attempt["reason"])


def test_resources_that_no_node_has_are_told(here: Command) -> None:
    write_suite(here, "{use: finetune/linear_probe, C: 2.0, resources: {cpus: 500}}")
    process = begin(here)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "jobs with resources {cpus: 500, gpus: 0} wait" in line:
            break
    process.send_signal(signal.SIGINT)

    ended(process, 130)
    assert "jobs with resources {cpus: 500, gpus: 0} wait" in lines[-1]
