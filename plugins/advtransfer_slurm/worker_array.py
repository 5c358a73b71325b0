"""The tasks that submitit starts: one array, and those that replace tasks which ended."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advtransfer.errors import BadInput, Problem

if TYPE_CHECKING:
    import submitit

MAX_REQUEUES = 10_000
"""Times that submitit puts a task into the queue again after its time: each time it serves on."""

SECONDS_BEFORE_TIMEOUT = 90
"""Seconds before a task's time at which Slurm tells it to put itself into the queue again."""


class WorkerArray:
    """Starts, watches and cancels tasks.

    Args:
        cluster: ``slurm``, or ``local`` for processes of this machine.
        minutes: Time limit of a task.
        threads: Cores of a task.
        parameters: Further parameters of `submitit.AutoExecutor`; None for those that are not stated.

    Raises:
        BadInput: Slurm's commands are not installed.
    """

    def __init__(
        self,
        *,
        cluster: Literal["slurm", "local"],
        minutes: int,
        threads: int,
        parameters: Mapping[str, str | None],
    ) -> None:
        import submitit  # noqa: F401  # told here where the extra is missing, before anything runs

        missing = [name for name in ("sbatch", "srun", "sacct") if shutil.which(name) is None]
        if cluster == "slurm" and missing:
            problem = Problem(
                f"no command {', '.join(missing)}",
                "Slurm's commands, which start the workers",
                "run on a machine from which jobs are submitted, or try it with --engine cluster=local",
            )
            raise BadInput([problem])
        self.cluster = cluster
        self.minutes = minutes
        self.threads = threads
        self.parameters = parameters
        self.tasks: dict[int, submitit.Job[None]] = {}

    def start_tasks(
        self, function: Callable[[int], None], numbers: Iterable[int], *, logs: Path, gpus: int
    ) -> None:
        """Start a task for each number, all as one array.

        Raises:
            BadInput: Slurm refuses them.
        """
        import submitit

        numbers = list(numbers)
        executor = submitit.AutoExecutor(
            logs,
            cluster=self.cluster,
            **{
                # Without -P the current folder could hide modules of the installation.
                f"{self.cluster}_python": f"{shlex.quote(sys.executable)} -P",
                f"{self.cluster}_max_num_timeout": MAX_REQUEUES,
            },
        )
        executor.update_parameters(
            name="advtransfer",
            timeout_min=self.minutes,
            cpus_per_task=self.threads,
            gpus_per_node=None if self.parameters.get("slurm_gres") or not gpus else gpus,
            slurm_array_parallelism=len(numbers),
            slurm_signal_delay_s=SECONDS_BEFORE_TIMEOUT,
            slurm_additional_parameters={"requeue": True},
            **self.parameters,
        )
        try:
            jobs = executor.map_array(function, numbers)
        except (submitit.core.utils.UncompletedJobError, OSError, RuntimeError) as error:
            found = f"Slurm does not start workers: {' '.join(str(error).split())}"
            next_step = "correct the options of the engine, such as --engine partition=NAME"
            raise BadInput([Problem(found, "an array that sbatch accepts", next_step)]) from error
        self.tasks |= dict(zip(numbers, jobs, strict=True))

    def ended_tasks(self) -> dict[int, str]:
        """Forget the tasks that have ended, and return the last line that each wrote, by number."""
        ended = {}
        for number, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[number]
                ended[number] = _last_line(task)
        return ended

    def cancel_tasks(self, numbers: Iterable[int]) -> None:
        """Cancel and forget these tasks, whether they run or wait in the queue."""
        tasks = [self.tasks.pop(number) for number in numbers if number in self.tasks]
        if self.cluster == "slurm" and tasks:
            # One call for all: submitit makes one for each.
            subprocess.call(["scancel", *(task.job_id for task in tasks)])
        elif self.cluster == "local":
            for task in tasks:
                task.cancel(check=False)

    def wait_for_end(self, seconds: float) -> None:
        """Wait until all tasks have ended, and cancel those that still run after some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(task.done() for task in self.tasks.values()):
                break
            time.sleep(0.25)
        self.cancel_tasks([number for number, task in self.tasks.items() if not task.done()])
        self.tasks.clear()


def _last_line(task: submitit.Job[None]) -> str:
    """Return the last line that a task wrote to its log of errors, or its state."""
    lines = (task.stderr() or "").strip().splitlines()
    return lines[-1] if lines else f"state {task.state}"
