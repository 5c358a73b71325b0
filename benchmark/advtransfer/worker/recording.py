"""Recorder of a job: provenance, observed facts and timings that its records share."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.result import Run
from advtransfer.result.record import HALVED_KERNEL_BATCH, Provenance
from advtransfer.types import Json
from advtransfer.worker.object_builder import ObjectBuilder
from advtransfer.worker.verification.config import BATTERY_SIZES, BatteryConfig


@dataclass(frozen=True, slots=True)
class JobRecorder:
    """One job in one worker.

    Every description in `lasting_effects` is a reason to replace the worker process before another
    job, because a plugin left state behind in it.
    """

    job: Job
    run: Run
    objects: ObjectBuilder
    lasting_effects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One list for both, so that every guard of the job adds to what the recorder reports.
        self.objects.side_effects.lasting_effects = self.lasting_effects

    @property
    def battery_config(self) -> BatteryConfig | None:
        """Amount of work of the run's batteries; None if it runs none."""
        return None if self.job.battery == "none" else BATTERY_SIZES[self.job.battery]

    def provenance_of(
        self,
        node: Node,
        *,
        data: Mapping[str, str],
        weights: Mapping[str, str],
        resolved: Mapping[str, str] | None = None,
        environment: str | None = None,
        plugin: Mapping[str, Json] | None = None,
    ) -> Provenance:
        """Return the provenance of a record of this job.

        Args:
            node: The node of the record.
            data: Digests of the data, by role.
            weights: Digests of the weights, by role.
            resolved: Components that were chosen at run time, by role.
            environment: Digest of the environment; by default the job's.
            plugin: Name, distribution and version of the plugin; by default that of the node's
                component.
        """
        if plugin is None:
            component = self.objects.component(node)
            plugin = {
                "name": component.plugin,
                "distribution": component.distribution,
                "version": component.version,
            }
        digest = environment or self.job.environment
        described = self.run.read_environments().get(digest, {})
        return Provenance(
            environment=digest,
            plugin=plugin,
            # Without the index, since equal GPUs of one machine compute the same.
            device=self.job.device.partition(":")[0],
            threads=self.job.threads,
            precision=self.job.precision,
            kernel_batch=cast("int | None", described.get("kernel_batch")),
            halved_kernel_batch=cast("int | None", described.get(HALVED_KERNEL_BATCH)),
            data=data,
            weights=weights,
            resolved=resolved or {},
        )

    def observed_facts(self, node: Node, stopwatch: Stopwatch) -> dict[str, Json]:
        """Return the facts of a record that may differ between two runs of the same node."""
        return {
            "asked_by": dict(self.job.asked_by),
            "code": cast(Json, self.objects.host.node_code(node)),
            "started": stopwatch.started,
            "seconds": dict(stopwatch.seconds),
            "attempt": self.run.attempt_count(self.job.id) + 1,
            "peak_bytes": peak_memory_bytes(),
            "copied_from": None,
        }


@dataclass(slots=True)
class Stopwatch:
    """Seconds by activity."""

    started: float = field(default_factory=time.time)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Add the time spent inside to the seconds of an activity."""
        began = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - began
            self.seconds[what] = self.seconds.get(what, 0.0) + elapsed


def peak_memory_bytes() -> int | None:
    """Return the peak memory of this process in bytes; None where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux reports kibibytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024
