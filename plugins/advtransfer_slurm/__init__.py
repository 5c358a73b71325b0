"""Hooks of the executor for Slurm, which needs the extra ``advtransfer[slurm]``."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.jobs import Executor
from advtransfer.types import Factory
from advtransfer_slurm.components import submitit


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """Return the factory of the executor."""
    return [submitit]
