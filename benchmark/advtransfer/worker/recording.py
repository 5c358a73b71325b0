"""Recorder of a job: provenance, observed facts and timings that its records share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.result import Run
from advtransfer.result.record import Provenance
from advtransfer.types import Json
from advtransfer.worker.object_builder import ObjectBuilder
from advtransfer.worker.verification.config import BATTERY_SIZES, BatteryConfig


@dataclass(frozen=True, slots=True)
class JobRecorder:
    """One job in one worker.

    Whoever finds that a plugin left state behind in the process adds it, in words, to `left_behind`: the worker is then
    replaced before another job is done.
    """

    job: Job
    run: Run
    objects: ObjectBuilder
    lasting_effects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects.side_effects.lasting_effects = self.lasting_effects

    @property
    def battery_config(self) -> BatteryConfig | None:
        """How much evidence the run asks for; None for none."""
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
        """Who answers for a record of this job; by default the plugin that the node's component comes from."""
        if plugin is None:
            component = self.objects.component(node)
            plugin = {
                "name": component.plugin,
                "distribution": component.distribution,
                "version": component.version,
            }
        return Provenance(
            environment=environment or self.job.environment,
            plugin=plugin,
            device=self.job.device,
            threads=self.job.threads,
            precision=self.job.precision,
            data=data,
            weights=weights,
            resolved=resolved or {},
        )

    def observed_facts(self, node: Node, clock: Stopwatch) -> dict[str, Json]:
        """What may differ between two runs of the same thing."""
        return {
            "asked_by": dict(self.job.asked_by),
            "code": cast(Json, self.objects.host.node_code(node)),
            "started": clock.started,
            "seconds": dict(clock.seconds),
            "attempt": self.run.attempt_count(self.job.id) + 1,
            "peak_bytes": peak_memory_bytes(),
            "copied_from": None,
        }


@dataclass(slots=True)
class Stopwatch:
    """Seconds by what they were spent on."""

    started: float = field(default_factory=time.time)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Count the time inside as spent on `what`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - began


def peak_memory_bytes() -> int | None:
    """The most memory this process has had, where the system says."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
