"""Hook of the built-in executors: a pool of local processes (the default), and the current process."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.executors.components import inline, pool
from advtransfer.hookspecs import hookimpl
from advtransfer.jobs import Executor
from advtransfer.types import Factory


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """Return the factories of the executors that run on this machine."""
    return [pool, inline]
