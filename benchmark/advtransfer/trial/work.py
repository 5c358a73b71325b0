"""What one job carries, and what its records say of who made them and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from advtransfer.node import Node
from advtransfer.result import Run
from advtransfer.result.record import Provenance
from advtransfer.trial.battery.design import SIZES, Battery
from advtransfer.trial.workshop import Workshop
from advtransfer.types import Job, Json


@dataclass(frozen=True, slots=True)
class Work:
    """One job in one worker.

    Whoever finds that a plugin left state behind in the process adds it, in words, to `left_behind`: the worker is then
    replaced before another job is done.
    """

    job: Job
    run: Run
    shop: Workshop
    left_behind: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shop.left.job = self.left_behind

    @property
    def battery(self) -> Battery | None:
        """How much evidence the run asks for; None for none."""
        return None if self.job.battery == "none" else SIZES[self.job.battery]

    def provenance(
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
            component = self.shop.component(node)
            plugin = {"name": component.plugin, "distribution": component.distribution, "version": component.version}
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

    def observed(self, node: Node, clock: Clock) -> dict[str, Json]:
        """What may differ between two runs of the same thing."""
        return {
            "asked_by": dict(self.job.asked_by),
            "code": cast(Json, self.shop.host.code_of(node)),
            "started": clock.started,
            "seconds": dict(clock.seconds),
            "attempt": self.run.attempted(self.job.id) + 1,
            "peak_bytes": peak_bytes(),
            "copied_from": None,
        }


@dataclass(slots=True)
class Clock:
    """Seconds by what they were spent on."""

    started: float = field(default_factory=time.time)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time inside as spent on `what`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - began


def peak_bytes() -> int | None:
    """The most memory this process has had, where the system says."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
