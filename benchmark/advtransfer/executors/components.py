"""Factories of the built-in executors, and of modules in memory. Do not import torch."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.jobs import Executor
from advtransfer.types import Dataset, Source, component


def pool(
    *,
    jobs: Annotated[int, Ge(1)] = 1,
    threads: Annotated[int, Ge(1)] = 1,
    devices: tuple[str, ...] = (),
    memory_limit: Annotated[int, Ge(1)] | None = None,
) -> Executor:
    """Local worker processes, each reused for many jobs; the job of a worker that died is tried again.

    Args:
        jobs: How many workers run at once.
        threads: CPU threads of each worker; set in its environment before torch is imported.
        devices: The devices that workers take in turn; none to leave each job the device that it names.
        memory_limit: The bytes that a worker may use with its children; a job above it is stopped and has failed.
    """
    from advtransfer.executors.process_pool import ProcessPool

    return ProcessPool(jobs=jobs, threads=threads, devices=devices, memory_limit=memory_limit)


def inline(*, jobs: Annotated[int, Ge(1)] = 1, threads: Annotated[int, Ge(1)] = 1) -> Executor:
    """This process, one job after the other: for debuggers.

    A plugin that ends the process (``os._exit``, a crash) ends the run with it: `local/pool` counts that as a failure.
    No limit of time or memory holds here.

    Args:
        jobs: Must be 1.
        threads: CPU threads of torch and of the BLAS libraries while a job runs.
    """
    from advtransfer.executors.in_process import InlineExecutor

    return InlineExecutor(jobs=jobs, threads=threads)


@component(shape="data")
def module(
    *, nonce: str, shape: tuple[Annotated[int, Ge(1)], ...], data: Dataset | None = None
) -> Source:
    """A module in the memory of this process, as `advtransfer.source` names it in Python; not for suite files.

    In memory: cannot be rebuilt. It exists only while the call that it was given to runs, so no cache, no other run
    and no submission holds its results.

    Args:
        nonce: The module's name in this process, drawn for one call.
        shape: Shape of one input.
        data: The source's own data; the start-up probe measures the accuracy on its test part.
    """
    from advtransfer.executors.in_memory import find_module

    return find_module(nonce)
