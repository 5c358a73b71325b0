"""Factories of the built-in executors. Do not import torch."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.jobs import Executor


def pool(*, jobs: Annotated[int, Ge(1)] = 1, threads: Annotated[int, Ge(1)] = 1) -> Executor:
    """Local worker processes, each reused for many jobs; the job of a worker that died is tried again.

    Args:
        jobs: How many workers run at once.
        threads: CPU threads of each worker; set in its environment before torch is imported.
    """
    from advtransfer.executors.process_pool import ProcessPool

    return ProcessPool(jobs=jobs, threads=threads)


def inline(*, jobs: Annotated[int, Ge(1)] = 1, threads: Annotated[int, Ge(1)] = 1) -> Executor:
    """This process, one job after the other: for debuggers.

    A plugin that ends the process (``os._exit``, a crash) ends the run with it: `local/pool` counts that as a failure.

    Args:
        jobs: Must be 1.
        threads: CPU threads of torch and of the BLAS libraries while a job runs.
    """
    from advtransfer.executors.in_process import InlineExecutor

    return InlineExecutor(jobs=jobs, threads=threads)
