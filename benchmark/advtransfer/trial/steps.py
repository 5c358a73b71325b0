"""Steps of a job: what is made in which order, each ending in a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from advtransfer.errors import Busy, Unfit
from advtransfer.node import Node
from advtransfer.trial.fit import carry
from advtransfer.trial.measure import measure
from advtransfer.trial.source import record_source
from advtransfer.trial.work import Work

logger = logging.getLogger(__name__)
Step: TypeAlias = "tuple[Node, Callable[[], None]]"


def job_steps(work: Work, node: Node, results: list[Node]) -> Iterator[Step]:
    """Yield what to make, in order; a later step is asked for only when the one before has ended."""
    if node.kind == "source":
        yield node, partial(record_source, work, node)
        return
    if node.kind == "result":
        yield node, partial(measure, work, node, None)
        return
    carried = carry(work, node)
    yield node, carried.make
    running = len(work.shop.left.running)
    for number, result in enumerate(results):
        if len(work.shop.left.running) > running:
            _hand_over(work, results[number - 1], result)
        yield result, partial(measure, work, result, carried)
    if not work.job.keep_weights and all(work.run.has(result.id) for result in results):
        _remove_weights(work, node)


def _remove_weights(work: Work, fit: Node) -> None:
    """Remove a fit whose records are all there; one that cannot be removed takes room, and nothing else."""
    try:
        work.shop.cache.remove(fit.id)
    except (Busy, OSError) as error:
        logger.warning("the weights of fit %s were not removed: %s", fit.id[:12], error)


def _hand_over(work: Work, before: Node, result: Node) -> None:
    """Leave a result to another process, where one evaluation left a thread running that nobody can stop.

    Raises:
        Unfit: Unless that evaluation failed, and would do the same there.
    """
    if work.run.has(before.id) and not work.run.has(result.id):
        raise Unfit(f"{'; '.join(work.shop.left.running)}; the rest is for another process")
