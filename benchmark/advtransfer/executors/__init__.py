"""The built-in engines, registered as any plugin's: a pool of local processes (the default), and this very process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Executor, Factory


def pool(*, jobs: Annotated[int, Ge(1)] = 1, threads: Annotated[int, Ge(1)] = 1) -> Executor:
    """Local worker processes, each reused for many jobs; the job of a worker that died is tried again.

    Args:
        jobs: How many workers run at once.
        threads: CPU threads of each worker; set in its environment before torch is imported.
    """
    from advtransfer.executors.workers import Pool

    return Pool(jobs=jobs, threads=threads)


def inline(*, jobs: Annotated[int, Ge(1)] = 1, threads: Annotated[int, Ge(1)] = 1) -> Executor:
    """This process, one job after the other: for debuggers.

    A plugin that ends the process (``os._exit``, a crash) ends the run with it: `local/pool` counts that as a failure.

    Args:
        jobs: Must be 1.
        threads: CPU threads of torch and of the BLAS libraries while a job runs.
    """
    from advtransfer.executors.in_process import Inline

    return Inline(jobs=jobs, threads=threads)


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """The engines that need nothing but this machine."""
    return [pool, inline]
