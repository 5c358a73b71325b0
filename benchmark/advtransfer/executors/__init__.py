"""Hook of the built-in executors.

A pool of local processes (the default), and this very process.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.executors.components import inline, pool
from advtransfer.hookspecs import hookimpl
from advtransfer.jobs import Executor
from advtransfer.types import Factory


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """The engines that need nothing but this machine."""
    return [pool, inline]
