"""Steps of a job, in order; each ends in a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from advtransfer.errors import Busy, Unfit
from advtransfer.node import Node
from advtransfer.worker.fit import FitJob
from advtransfer.worker.measure import measure_result
from advtransfer.worker.recording import JobRecorder
from advtransfer.worker.source import record_source

logger = logging.getLogger(__name__)
Step: TypeAlias = "tuple[Node, Callable[[], None]]"


def job_steps(recorder: JobRecorder, node: Node, results: list[Node]) -> Iterator[Step]:
    """Yield each node to make, with the function that makes it, in order.

    The caller runs a step before it asks for the next one, since later steps use earlier results.
    """
    if node.kind == "source":
        yield node, partial(record_source, recorder, node)
        return
    if node.kind == "result":
        yield node, partial(measure_result, recorder, node, None)
        return
    fit_job = FitJob(recorder, node)
    yield node, fit_job.fit_or_load
    running_threads = recorder.objects.side_effects.running_threads
    before_results = len(running_threads)
    for number, result in enumerate(results):
        if len(running_threads) > before_results:
            _hand_over(recorder, results[number - 1], result)
        yield result, partial(measure_result, recorder, result, fit_job)
    all_recorded = all(recorder.run.has_record(result.id) for result in results)
    if all_recorded and not recorder.job.keep_weights:
        _remove_weights(recorder, node)


def run_step(recorder: JobRecorder, step: Node, make: Callable[[], None]) -> None:
    """Make the record of a step, and leave the process as it was.

    The guards inside mark the records. This one is around all of a step, so that nothing that they do
    not see, such as a method of a model that torch calls, changes what this process makes later.
    """
    with recorder.objects.side_effects.guard_component(step.use):
        make()


def _remove_weights(recorder: JobRecorder, fit: Node) -> None:
    """Remove the cached weights of a fit; weights that cannot be removed only take up space."""
    try:
        recorder.objects.cache.remove_node(fit.id)
    except (Busy, OSError) as error:
        logger.warning("the weights of fit %s were not removed: %s", fit.id[:12], error)


def _hand_over(recorder: JobRecorder, previous: Node, result: Node) -> None:
    """Leave a result to another process, where the previous one left a thread running.

    No thread can be stopped from outside. If the previous evaluation failed, it would do the same in
    another process, so the result is measured here.

    Raises:
        Unfit: The previous evaluation succeeded, and the result has no record yet.
    """
    if recorder.run.has_record(previous.id) and not recorder.run.has_record(result.id):
        threads = "; ".join(recorder.objects.side_effects.running_threads)
        raise Unfit(f"{threads}; the rest is for another process")
