"""The steps of a job: what is made in which order, each ending in a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, cast

from advtransfer.node import Node
from advtransfer.result import Run
from advtransfer.result.record import Provenance
from advtransfer.trial.battery.design import SIZES, Battery
from advtransfer.trial.workshop import Workshop
from advtransfer.types import Job, Json

Step: TypeAlias = "tuple[Node, Callable[[], None]]"


@dataclass(frozen=True, slots=True)
class Work:
    """One job in one worker."""

    job: Job
    run: Run
    shop: Workshop

    @property
    def battery(self) -> Battery | None:
        """How much evidence the run asks for; None for none."""
        return None if self.job.battery == "none" else SIZES[self.job.battery]

    def steps(self, node: Node, results: list[Node]) -> Iterator[Step]:
        """What to make, in order; a later step is asked for only when the one before has ended."""
        from advtransfer.trial.fit import carry
        from advtransfer.trial.measure import measure
        from advtransfer.trial.source import record_source

        if node.kind == "source":
            yield node, partial(record_source, self, node)
        elif node.kind == "result":
            yield node, partial(measure, self, node, None)
        else:
            carried = carry(self, node)
            yield node, carried.make
            for result in results:
                yield result, partial(measure, self, result, carried)
            if not self.job.keep_weights and all(self.run.has(result.id) for result in results):
                self.shop.cache.remove(node.id)

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
