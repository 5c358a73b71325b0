"""The steps of a job: what is made in which order, each ending in a record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, cast

from advtransfer.errors import Busy, Unfit
from advtransfer.node import Node
from advtransfer.result import Run
from advtransfer.result.record import Provenance
from advtransfer.trial.battery.design import SIZES, Battery
from advtransfer.trial.workshop import Workshop
from advtransfer.types import Job, Json

logger = logging.getLogger(__name__)
Step: TypeAlias = "tuple[Node, Callable[[], None]]"


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
            running = len(self.shop.left.running)
            for number, result in enumerate(results):
                if len(self.shop.left.running) > running:
                    self._hand_over(results[number - 1], result)
                yield result, partial(measure, self, result, carried)
            if not self.job.keep_weights and all(self.run.has(result.id) for result in results):
                self._drop(node)

    def _drop(self, node: Node) -> None:
        """Remove a fit whose records are all there; one that cannot be removed takes room, and nothing else."""
        try:
            self.shop.cache.remove(node.id)
        except (Busy, OSError) as error:
            logger.warning("the weights of fit %s were not removed: %s", node.id[:12], error)

    def _hand_over(self, before: Node, result: Node) -> None:
        """Leave a result to another process, where one evaluation left a thread running that nobody can stop.

        Raises:
            Unfit: Unless that evaluation failed, and would do the same there.
        """
        if self.run.has(before.id) and not self.run.has(result.id):
            raise Unfit(f"{'; '.join(self.shop.left.running)}; the rest is for another process")

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
