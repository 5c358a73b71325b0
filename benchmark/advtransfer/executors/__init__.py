"""Hooks of what this machine offers: its processes as executors, and the modules in their memory as sources."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.executors.components import inline, module, pool
from advtransfer.hookspecs import hookimpl
from advtransfer.jobs import Executor
from advtransfer.types import Factory, Source

__all__ = ["pool", "register_executors", "register_sources"]


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    """Return the factories of the executors that run on this machine."""
    return [pool, inline]


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """Return the factory of the modules in the memory of this process."""
    return [module]
