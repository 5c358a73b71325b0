"""Factory of the executor for Slurm. Does not import submitit."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from annotated_types import Ge

from advtransfer.errors import BadInput, Problem
from advtransfer.jobs import Executor

SLURM_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?"
    r"|(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+)"
    r"|(?P<only_minutes>\d+))"
)


def submitit(
    *,
    jobs: Annotated[int, Ge(1)] | None = None,
    threads: Annotated[int, Ge(1)] = 1,
    memory_limit: Annotated[int, Ge(1)] | None = None,
    cluster: Literal["slurm", "local"] = "slurm",
    time: str = "4:00:00",
    partition: str | None = None,
    account: str | None = None,
    qos: str | None = None,
    constraint: str | None = None,
    mem: str | None = None,
    gres: str | None = None,
) -> Executor:
    """Workers that Slurm runs: one array of `jobs` tasks, each reused for many jobs.

    Every machine must see the run folder, the cache and the data under the same paths. A task that is preempted, or
    reaches its time, is put into the queue again and then serves on. The job of a task that died is given to another.

    Args:
        jobs: Number of tasks, each of which runs one job at a time; required, since no machine has this number.
        threads: CPU threads of each task, and the cores that it asks for.
        memory_limit: The bytes that a worker may use with its children; a job above it is stopped and has failed.
        cluster: `local` starts the tasks on this machine without Slurm, for trials.
        time: Time limit of a task as Slurm writes it: minutes, ``hours:minutes:seconds`` or ``days-hours``.
        partition: Partition of the array; without it the cluster's default, as for the options that follow.
        account: Account that is charged.
        qos: Quality of service.
        constraint: Features that a node must have.
        mem: Memory of a task, such as ``8G``.
        gres: Generic resources of a task, such as ``gpu:1``; without it a task asks for the GPUs of its jobs.
    """
    from advtransfer_slurm.executor import SpoolExecutor
    from advtransfer_slurm.worker_array import WorkerArray

    if jobs is None:
        problem = Problem(
            "no number of workers", "the number of tasks that Slurm starts", "add --jobs 8"
        )
        raise BadInput([problem])
    parameters = {
        "slurm_partition": partition,
        "slurm_account": account,
        "slurm_qos": qos,
        "slurm_constraint": constraint,
        "slurm_mem": mem,
        "slurm_gres": gres,
    }
    array = WorkerArray(
        cluster=cluster, minutes=slurm_minutes(time), threads=threads, parameters=parameters
    )
    return SpoolExecutor(jobs=jobs, array=array, memory_limit=memory_limit)


def slurm_minutes(time: str) -> int:
    """Return a time limit in minutes, rounded up.

    Raises:
        BadInput: Slurm does not write a time limit in this way.
    """
    match = SLURM_TIME.fullmatch(time.strip())
    if match is None:
        expected = "minutes, hours:minutes:seconds or days-hours, as sbatch --time takes them"
        raise BadInput([Problem(f"time: {time!r}", expected, "write time=4:00:00 for four hours")])
    parts = {name: int(text) for name, text in match.groupdict().items() if text is not None}
    days, hours = parts.get("days", 0), parts.get("hours", parts.get("h", 0))
    minutes = parts.get("minutes", parts.get("m", parts.get("only_minutes", 0)))
    seconds = parts.get("seconds", parts.get("s", 0))
    return max(1, math.ceil(days * 24 * 60 + hours * 60 + minutes + seconds / 60))
