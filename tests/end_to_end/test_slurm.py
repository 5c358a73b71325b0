"""Whole runs in tasks that submitit starts: here, and by commands that stand in for Slurm's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]

ENGINE = ("--executor", "slurm/submitit", "--jobs", "2", "--quiet")

SHORT_LEASE = """\
from advtransfer_slurm import executor
executor.BEAT_SECONDS, executor.LEASE_SECONDS = 0.5, 5.0
"""

SBATCH = r"""#!/bin/bash
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\)%.*/\1/p' "$1")
cp "$1" "$FAKE_SLURM/script"
for task in $(seq 0 "$last"); do "$FAKE_SLURM/begin" "$task"; done
echo "Submitted batch job 42"
"""
BEGIN = r"""#!/bin/bash
SLURM_JOB_ID=4$1 SLURM_ARRAY_JOB_ID=42 SLURM_ARRAY_TASK_ID=$1 setsid bash "$FAKE_SLURM/script" >/dev/null 2>&1 &
"""
SRUN = r"""#!/bin/bash
while [[ $1 == --* ]]; do
    [[ $1 == --unbuffered ]] && shift || shift 2
done
echo $$ >> "$FAKE_SLURM/task$SLURM_ARRAY_TASK_ID"
exec "$@" 2> "$FAKE_SLURM/log$SLURM_ARRAY_TASK_ID"
"""
SCONTROL = r"""#!/bin/bash
[[ $1 == requeue ]] && "$FAKE_SLURM/begin" "${2#*_}"
"""


def agents(command: Command) -> dict[int, str]:
    """The processes whose environment names the command's cache, by id."""
    cache = f"ADVTRANSFER_CACHE={command.environment['ADVTRANSFER_CACHE']}".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if cache in environment and line:
            found[int(process.name)] = line
    return found


def wait_until(fact: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reference_of(command_in: Callable[[str], Command], records_of: Records) -> dict[str, str]:
    command = command_in("reference")
    command("run", "small.yaml", "--jobs", "1", "--quiet")
    return records_of(command.folder / "runs" / "small")


@pytest.mark.slow
def test_a_run_whose_task_is_killed_has_the_records_of_one_worker(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    expected = reference_of(command_in, records_of)
    command = command_in("tasks")
    run = command.folder / "runs" / "small"
    process = command.start("run", "small.yaml", *ENGINE, "--engine", "cluster=local")
    wait_until(lambda: any(run.glob("records/*/[0-9a-f]*.json")))
    tasks = [pid for pid, line in agents(command).items() if "submitit.core._submit" in line]
    os.kill(min(tasks), signal.SIGKILL)
    output, _ = process.communicate(timeout=300)

    assert 0 == process.returncode, output
    assert expected == records_of(run)
    assert {} == agents(command)
    assert [] == list(run.glob("attempts/*/*"))
    assert not (run / "spool").exists()


@pytest.mark.slow
def test_a_run_whose_driver_is_killed_is_resumed_and_leaves_no_process(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    expected = reference_of(command_in, records_of)
    command = command_in("tasks")
    run = command.folder / "runs" / "small"
    site = command.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SHORT_LEASE)
    path = os.pathsep.join([str(site), command.environment.get("PYTHONPATH", "")])
    line = ("run", "small.yaml", *ENGINE, "--engine", "cluster=local")
    process = command.start(*line, PYTHONPATH=path)
    wait_until(lambda: any(run.glob("records/*/[0-9a-f]*.json")))
    process.kill()
    process.communicate()
    # The tasks take themselves for the driver's until its lease ends.
    wait_until(lambda: not agents(command), seconds=30)
    command(*line, PYTHONPATH=path)

    assert expected == records_of(run)
    assert {} == agents(command)
    assert [] == list(run.glob("attempts/*/*"))


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process_and_nothing_in_its_spool(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    command = command_in("tasks")
    run = command.folder / "runs" / "small"
    line = ("run", "small.yaml", *ENGINE, "--engine", "cluster=local")
    process = command.start(*line)
    wait_until(lambda: any(run.glob("records/*/[0-9a-f]*.json")))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert 130 == process.returncode, output
    assert {} == agents(command)
    assert not (run / "spool").exists()
    assert [] == list(run.glob("attempts/*/*"))


@pytest.mark.slow
def test_a_task_that_slurm_preempts_runs_again_and_serves_on(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    expected = reference_of(command_in, records_of)
    command = command_in("tasks")
    run = command.folder / "runs" / "small"
    slurm = command.folder / "slurm"
    slurm.mkdir()
    scripts = {"sbatch": SBATCH, "begin": BEGIN, "srun": SRUN, "scontrol": SCONTROL}
    for name, text in (scripts | {"sacct": "#!/bin/sh\n", "scancel": "#!/bin/sh\n"}).items():
        (slurm / name).write_text(text)
        (slurm / name).chmod(0o755)
    path = os.pathsep.join([str(slurm), command.environment["PATH"]])
    options = ("--engine", "partition=short,mem=4G,time=30")
    process = command.start(
        "run", "small.yaml", *ENGINE, *options, PATH=path, FAKE_SLURM=str(slurm)
    )
    wait_until(lambda: any(run.glob("records/*/[0-9a-f]*.json")))
    (pid,) = (slurm / "task0").read_text().split()
    for number in (signal.SIGTERM, signal.SIGUSR2):  # as Slurm preempts
        os.kill(int(pid), number)
    output, _ = process.communicate(timeout=300)
    script = (slurm / "script").read_text()

    assert 0 == process.returncode, output
    assert 2 == len((slurm / "task0").read_text().split()), (slurm / "log0").read_text()
    assert expected == records_of(run)
    assert [] == list(run.glob("attempts/*/*"))
    for word in ("--partition=short", "--mem=4G", "--time=30", "--requeue", "--cpus-per-task=1"):
        assert f"#SBATCH {word}\n" in script
    wait_until(lambda: not agents(command), seconds=10)
