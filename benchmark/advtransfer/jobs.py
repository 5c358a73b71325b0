"""Interface between the runner and an executor: a job, its report, and the executor itself.

Public for plugins with an executor. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar, cast, runtime_checkable

from advtransfer.types import BatterySize, Json, Precision

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Job:
    """One node to build (a source, a reference, or a fit with its results), as plain picklable data.

    Args:
        id: The content id of the node.
        asked: The node (``node``) and the evaluations of it (``results``), as `Node.to_json` gives them.
        run: The run folder that receives the records.
        cache: The cache's folder.
        environment: The digest of the environment, as records hold it.
        asked_by: The run that the job belongs to; records store it as observed.
        device: The device, as torch names it (``cpu``, ``cuda:0``).
        threads: The CPU threads of torch.
        precision: The precision of model passes.
        battery: The size of the verification battery.
        keep_weights: Whether a fit's weights stay in the cache.
        trust_versions: Whether artifacts of changed plugin code are used if their version is the same.
        max_bytes: The size limit of the cache; None for no limit.
        cache_below: A second cache that is only read, for what `cache` does not hold.
        cpus: The CPU cores that the job needs.
        gpus: The GPUs that the job needs, or the share of one.
        profile: The file that a trace of torch's profiler is written to; None for no profile.
        seconds: The time limit of each step of the job (the source, the fit, each evaluation); None
            for no limit.
        step_seconds: The limits of steps whose entries have their own, by node id.
        mixed: Whether a worker may differ from `environment`; its records then hold its own.
        earlier_attempts: Where drivers share the run folder, the number of attempts on record when this one
            began, by node id, where there were any. A node with more of them was tried by another driver
            meanwhile, and is not tried again.
        kernel_batch: The rows that a kernel computes at once; None for the rule of device and shapes.
        compiled: Whether models are trained through torch's compiler.
    """

    id: str
    asked: Mapping[str, Json]
    run: Path
    cache: Path
    environment: str
    asked_by: Mapping[str, Json]
    device: str
    threads: int
    precision: Precision = "float32"
    battery: BatterySize = "small"
    keep_weights: bool = False
    trust_versions: bool = False
    max_bytes: int | None = None
    cache_below: Path | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    seconds: float | None = None
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    mixed: bool = False
    earlier_attempts: Mapping[str, int] | None = None
    profile: Path | None = None
    kernel_batch: int | None = None
    compiled: bool = False

    def seconds_of(self, step: str) -> float | None:
        """Return the time limit of a step, by the id of its node."""
        return self.step_seconds.get(step, self.seconds)


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a job. Its records are on disk before the report exists, so a lost report loses nothing.

    `retire_worker` is the reason why no other job may run in this job's process (a plugin changed its
    state). An executor that has replaced the process clears it; the runner ends a run where it is set.
    `broke_limit` tells of a lost job that the executor stopped at a limit: the step that ran has failed.
    `elsewhere` says that another driver of the run folder did the job.
    """

    id: str
    status: Literal["done", "failed", "skipped", "lost", "busy"]
    records: tuple[str, ...]
    reason: str | None
    retire_worker: str | None = None
    broke_limit: bool = False
    elsewhere: bool = False

    @classmethod
    def lost(cls, job: Job, reason: str) -> Report:
        """Return the report of a job whose worker did not report it."""
        return cls(job.id, "lost", (), reason)

    @classmethod
    def from_json(cls, fields: Mapping[str, Json]) -> Report:
        """Return the report that `to_json` gave."""
        records = cast("list[str]", fields["records"])
        return cls(**{**fields, "records": tuple(records)})  # type: ignore[arg-type]  # JSON of a report

    def to_json(self) -> dict[str, Json]:
        """Return the report as JSON."""
        return {**asdict(self), "records": [*self.records]}


STOPPED_REASON = "the run was stopped"
"""Reason of the lost reports of jobs that `Executor.stop` has ended."""


def worker_variables(threads: int) -> dict[str, str]:
    """Return the environment variables of a worker, whose libraries read them when they are imported.

    Args:
        threads: CPU threads that they may use.
    """
    return {
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        # Sets and hashes of texts have the same order in every process.
        "PYTHONHASHSEED": "0",
        # A notebook's own backend draws into the notebook.
        "MPLBACKEND": "agg",
    }


class Executor(Protocol):
    """Runs jobs with `advtransfer.worker.perform_job`, in this process or others.

    It retries only lost jobs. The runner submits a few jobs ahead, and not the whole plan.
    """

    @property
    def slots(self) -> int:
        """The number of jobs that run at the same time."""

    def start(self) -> AbstractContextManager[Executor]:
        """Return a context in which jobs can be submitted; leaving it ends every worker."""

    def submit(self, job: Job) -> Future[Report]:
        """Queue a job; the future always gets a report, also when the job's worker dies."""

    def news(self) -> Iterator[Mapping[str, Json]]:
        """Yield the progress messages that workers sent since the last call."""

    def stop(self, *, grace: float) -> None:
        """Report waiting jobs as lost, and end running ones after `grace` seconds."""


ReturnT = TypeVar("ReturnT")


@runtime_checkable
class RemoteExecutor(Executor, Protocol):
    """An executor whose workers run on other machines, and so in another environment than the driver."""

    def call_on_worker(self, function: Callable[[], ReturnT], *, gpu: bool) -> ReturnT:
        """Return what a function returns on one of the workers, before any job; with `gpu` on one with a GPU."""
