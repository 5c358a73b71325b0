"""Factory of the executor. Does not import ray."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.jobs import Executor
from advtransfer.types import component


@component(example={"address": "local"})
def cluster(
    *,
    address: str = "auto",
    retries: Annotated[int, Ge(0)] = 3,
    jobs: Annotated[int, Ge(1)] | None = None,
    threads: Annotated[int, Ge(1)] = 1,
) -> Executor:
    """The nodes of a Ray cluster; a job whose worker or node died is tried again on another.

    A job reserves the CPU cores and GPUs that ``resources`` in the suite say, without it one core a thread
    and, with ``--device cuda``, one GPU. Nodes that do not see the run folder and the cache of the driver
    get what a job reads from it, and send back what it made. A node with other versions, another processor
    or GPU than that of the first worker does no job, unless ``--mixed``.

    Args:
        address: Of the head node (``10.0.0.1:6379``); ``auto`` for the cluster that this machine is a node of;
            ``local`` to start one on this machine that ends with the run.
        retries: How often Ray starts a job again after its worker or node died; an exception is final.
        jobs: How many jobs run at once; by default as many as the cluster has room for.
        threads: CPU threads of each job.
    """
    from advtransfer_ray.executor import RayExecutor

    return RayExecutor(address=address, retries=retries, jobs=jobs, threads=threads)
