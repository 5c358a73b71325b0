"""The sbatch file of a suite, run by bash as Slurm would, with commands that stand in for the benchmark and Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer.cli import main

RUN = """#!/bin/bash
echo "$@" >> "$TOLD"
[ -n "$LONG" ] || exit 3
trap 'sleep 0.3; echo ended in order >> "$TOLD"; exit 130' TERM
touch "$TOLD.begun"
while true; do sleep 0.05; done
"""
SCONTROL = """#!/bin/bash
echo "scontrol $@" >> "$TOLD"
"""


def script_of(*arguments: str, exit_code: int = 0) -> str:
    line = ["plan", "quickstart", "--sbatch", *arguments]
    ended = CliRunner().invoke(main, line, catch_exceptions=False)
    assert exit_code == ended.exit_code, ended.output
    return ended.output


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a task of an array finds; the file that tells what was called."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"advtransfer": RUN, "scontrol": SCONTROL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "42")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("LONG", "")
    return tmp_path / "told"


def interrupted(script: str, told: Path, number: signal.Signals) -> int:
    """Run a script whose run lasts, send it a signal, and return its exit code."""
    Path("job.sh").write_text(script)
    process = subprocess.Popen(["bash", "job.sh"], env={**os.environ, "LONG": "1"})
    while not told.with_name("told.begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    return process.wait(timeout=20)


def test_a_task_runs_its_share_and_gives_its_exit_code(task: Path) -> None:
    script = script_of("n=8,partition=short")
    Path("job.sh").write_text(script)
    ended = subprocess.run(["bash", "job.sh"], check=False)

    assert 3 == ended.returncode
    line = (
        "run quickstart --jobs 1 --threads 1 --device cpu --battery small --runs runs --shard 3/8"
    )
    assert [line] == task.read_text().splitlines()
    for word in ("array=1-8", "partition=short", "time=4:00:00", "mem=4G", "cpus-per-task=1"):
        assert f"#SBATCH --{word}\n" in script
    assert "#SBATCH --requeue\n" in script


def test_a_task_without_time_ends_in_order_and_is_queued_again(task: Path) -> None:
    code = interrupted(script_of(), task, signal.SIGUSR1)

    assert ["ended in order", "scontrol requeue 42_3"] == task.read_text().splitlines()[1:]
    assert 130 == code


def test_a_task_that_is_preempted_or_cancelled_ends_in_order(task: Path) -> None:
    code = interrupted(script_of(), task, signal.SIGTERM)

    assert ["ended in order"] == task.read_text().splitlines()[1:]
    assert 130 == code


def test_a_task_on_a_gpu_asks_for_one(task: Path) -> None:
    script = script_of("n=2,gres=gpu:a100:1", "--device", "cuda", "--threads", "4")

    assert "#SBATCH --gres=gpu:a100:1\n" in script
    assert "#SBATCH --cpus-per-task=4\n" in script
    assert "--threads 4 --device cuda" in script
    assert "#SBATCH --gres=gpu:1\n" in script_of("--device", "cuda")


def test_the_trials_of_a_part_are_those_of_its_file() -> None:
    script = script_of("--only", "n=20", "--only", "seed=0")

    assert "--only n=20 --only seed=0 --shard" in script


def test_wrong_options_are_told_at_once() -> None:
    text = script_of("n=none,partitoin=short", "--estimate", exit_code=2)

    assert "unknown option 'partitoin' in --sbatch" in text
    assert "did you mean 'partition'" in text
    assert "found --sbatch n=none; expected a number of tasks from 1 on" in text
    assert "found --estimate with --sbatch" in text
    assert "found --sbatch 'eight'; expected name=value" in script_of("eight", exit_code=2)
