"""Steps of a job in order, each of which ends in a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from advtransfer.errors import Busy, Unfit
from advtransfer.node import Node
from advtransfer.worker.fit import new_fit_job
from advtransfer.worker.measure import measure_result
from advtransfer.worker.recording import JobRecorder
from advtransfer.worker.source import record_source

logger = logging.getLogger(__name__)
Step: TypeAlias = "tuple[Node, Callable[[], None]]"


def job_steps(work: JobRecorder, node: Node, results: list[Node]) -> Iterator[Step]:
    """Yield what to make, in order; a later step is asked for only when the one before has ended."""
    if node.kind == "source":
        yield node, partial(record_source, work, node)
        return
    if node.kind == "result":
        yield node, partial(measure_result, work, node, None)
        return
    carried = new_fit_job(work, node)
    yield node, carried.fit_or_load
    running = len(work.objects.side_effects.running_threads)
    for number, result in enumerate(results):
        if len(work.objects.side_effects.running_threads) > running:
            _hand_over(work, results[number - 1], result)
        yield result, partial(measure_result, work, result, carried)
    if not work.job.keep_weights and all(work.run.has_record(result.id) for result in results):
        _remove_weights(work, node)


def _remove_weights(work: JobRecorder, fit: Node) -> None:
    """Remove a fit whose records are all there; one that cannot be removed takes room, and nothing else."""
    try:
        work.objects.cache.remove_node(fit.id)
    except (Busy, OSError) as error:
        logger.warning("the weights of fit %s were not removed: %s", fit.id[:12], error)


def _hand_over(work: JobRecorder, before: Node, result: Node) -> None:
    """Leave a result to another process, where one evaluation left a thread running that nobody can stop.

    Raises:
        Unfit: Unless that evaluation failed, and would do the same there.
    """
    if work.run.has_record(before.id) and not work.run.has_record(result.id):
        raise Unfit(
            f"{'; '.join(work.objects.side_effects.running_threads)}; the rest is for another process"
        )
