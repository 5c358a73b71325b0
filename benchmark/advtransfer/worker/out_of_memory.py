"""Jobs whose GPU ran out of memory: done again with half the rows in a kernel batch.

All results of one model are measured with kernel batches of one bound, since other kernels round
differently: a job is done again only while no result of its model has a record.

Importing this module does not import torch.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from advtransfer.cache import Cache, RemoteCache, environment_key
from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.result import Record, Run
from advtransfer.result.record import HALVED_KERNEL_BATCH
from advtransfer.worker.done_elsewhere import job_request

NEXT_STEP = (
    "name fewer rows with --kernel-batch in another run folder, or fewer workers on this GPU "
    "with --jobs"
)


class KernelBatchTooLarge(Exception):
    """A step ran out of memory, and its job is done again with at most `bound` rows in a kernel batch."""

    def __init__(self, step: Node, largest: int, bound: int) -> None:
        super().__init__(
            f"{step.use}: the GPU ran out of memory with kernel batches of {largest} rows; "
            f"the job is done again with at most {bound}, which its records say"
        )
        self.bound = bound


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a GPU has no memory left."""
    if "torch" not in sys.modules:
        return False
    import torch

    # The name in the releases before 2.5 too.
    return isinstance(error, torch.cuda.OutOfMemoryError)


def halved_bound(largest: int, option: int | None) -> int | None:
    """Return the bound on the rows of the next try; None where there is no smaller one.

    Args:
        largest: The largest kernel batch of this try, 0 where it had none.
        option: The ``--kernel-batch`` of the run, which alone can be below `KERNEL_BATCH`.
    """
    from advtransfer.toolkit.kernel_batch import KERNEL_BATCH

    least = KERNEL_BATCH if option is None or option >= KERNEL_BATCH else 1
    bound = max(least, largest // 2)
    return bound if bound < largest else None


def has_measurements(job: Job, run: Run) -> bool:
    """Return whether a result or a battery of the job's model has a record."""
    return any(record["kind"] in ("result", "battery") for record in _records_of_model(job, run))


def recorded_bound(job: Job, run: Run) -> int | None:
    """Return the bound under which records of the job's model were made; None where there was none."""
    if job.device == "cpu":
        return None
    bounds = {
        digest: cast(int, environment[HALVED_KERNEL_BATCH])
        for digest, environment in run.read_environments().items()
        if HALVED_KERNEL_BATCH in environment
    }
    if not bounds:
        return None
    digests = {_environment_of(record) for record in _records_of_model(job, run)}
    return min((bounds[digest] for digest in digests & bounds.keys()), default=None)


def _records_of_model(job: Job, run: Run) -> Iterator[Record]:
    """Yield the record of the job's node, and those of results and batteries of this model."""
    for record in run.read_records():
        asked = cast("dict[str, dict[str, object]]", record["asked"])
        if job.id in (record["id"], asked["inputs"].get("model")):
            yield record


def _environment_of(record: Record) -> str:
    return str(cast("dict[str, object]", record["provenance"])["environment"])


def bounded_job(job: Job, run: Run, bound: int | None) -> Job:
    """Return a job with the environment of its records under a bound, which is written to the run."""
    if bound is None:
        return job
    environment = run.read_environments()[job.environment]
    digest = run.write_environment({**environment, HALVED_KERNEL_BATCH: bound})
    return replace(job, environment=digest)


def bounded_cache(job: Job, run: Run, bound: int | None, remote: RemoteCache | None) -> Cache:
    """Return the cache of a job under a bound.

    It has what was made under this bound, and the weights that records of the run name already.
    """
    cache = _open_cache(job, None, remote)
    if bound is None:
        return cache
    halved = _open_cache(job, bound, remote)
    for node in _recorded_models(job, run):
        artifact = None if halved.has_artifact(node.id) else cache.get(node.id)
        if artifact is None:
            continue
        halved.put(node.id, artifact.tensors, artifact.facts, kind=node.kind, use=node.use)
        if node.kind == "fit" and not job.keep_weights:
            cache.remove_node(node.id)
    return halved


def _open_cache(job: Job, bound: int | None, remote: RemoteCache | None) -> Cache:
    return Cache(
        job.cache,
        line=environment_key(
            job.device, job.threads, job.precision, job.kernel_batch, job.compiled, bound
        ),
        max_bytes=job.max_bytes,
        below=job.cache_below,
        remote=remote,
    )


def _recorded_models(job: Job, run: Run) -> Iterator[Node]:
    """Yield the fit of a job and the sources behind it, each once, that have a record."""
    request = job_request(job)
    waiting = [request.node, *request.results]
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        for value in node.inputs.values():
            waiting += value if isinstance(value, tuple) else (value,)
        if node.kind in ("fit", "source") and node.id not in seen and run.has_record(node.id):
            seen.add(node.id)
            yield node


def release_gpu_memory() -> None:
    """Give back the GPU's memory that nothing in this process refers to any more."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
