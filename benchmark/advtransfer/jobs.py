"""Interface between the runner and an executor.

A job, its report, and the executor that carries jobs to workers.

Public for plugins that bring an executor. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from advtransfer.types import BatterySize, Json, Precision

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Job:
    """One node to build (a source, a reference, a fit with its results): plain data, for any engine to carry.

    `cache_below` is a cache that is only read, for what is not in `cache`.
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


@dataclass(frozen=True, slots=True)
class Report:
    """How a job ended; its records are on disk before this exists, so a lost report loses nothing.

    `retire_worker` says why no other job may run in the process that did this one (a plugin left state behind in it).
    An engine that has put another process in its place clears it; where it stays set, the run ends and says why.
    """

    id: str
    status: Literal["done", "failed", "skipped", "lost", "busy"]
    records: tuple[str, ...]
    reason: str | None
    retire_worker: str | None = None


class Executor(Protocol):
    """Carries jobs to `advtransfer.worker.perform`; retries only lost ones; the driver keeps a window in flight."""

    @property
    def slots(self) -> int: ...
    def start(self) -> AbstractContextManager[Executor]: ...
    def submit(self, job: Job) -> Future[Report]: ...
    def news(self) -> Iterator[Mapping[str, Json]]:
        """Progress sent by workers since the last call."""

    def stop(self, *, grace: float) -> None: ...
