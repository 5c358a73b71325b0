"""Ray: jobs on the nodes of a Ray cluster, whether or not they share folders with the driver."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.jobs import Executor
from advtransfer.types import Factory
from advtransfer_ray.components import cluster


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """Return the factory of the executor."""
    return [cluster]
