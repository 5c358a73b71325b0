"""Training through torch's compiler, where the run asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

OPTIONS: dict[str, str | int | bool] = {
    # Kernels are chosen by a rule, never by a measured time.
    "deterministic": True,
    # Dropout draws from torch's generators, as it does in a model that is not compiled.
    "fallback_random": True,
    # Graphs on disk do not tell for which instructions they were made; those of the whole processor do not compile
    # for fewer.
    "fx_graph_cache": "ATEN_CPU_CAPABILITY" not in os.environ,
    # In this process: a pool of compiling processes would outlive the job.
    "compile_threads": 1,
}
"""Options of torch's compiler."""

MAX_GRAPHS = 64
"""The largest number of graphs of one model: by mode, by shape, and by what requires gradients."""

_run_option: ContextVar[bool] = ContextVar("compilation of the run", default=False)


@contextmanager
def compile_option(enabled: bool) -> Iterator[None]:
    """Compile the models that are trained inside if `enabled` is set: the run's ``--compile``."""
    token = _run_option.set(enabled)
    try:
        yield
    finally:
        _run_option.reset(token)


@contextmanager
def compiled_calls(model: nn.Module) -> Iterator[None]:
    """Compile the model's calls in the block, if the run asks for it.

    The model stays the same object with the same names of weights. Gradients of its outputs have no
    derivatives in the block (torch refuses them).
    """
    if not _run_option.get():
        yield
        return
    from torch import _dynamo

    # The compiler remembers shapes of earlier models of the process, and would choose other kernels.
    torch.compiler.reset()
    before = model._compiled_call_impl
    # Each shape has its own graph, so that none depends on the shapes that were seen before it.
    with _dynamo.config.patch(recompile_limit=MAX_GRAPHS):
        model.compile(dynamic=False, options=OPTIONS)
        try:
            yield
        finally:
            model._compiled_call_impl = before


@contextmanager
def plain_calls(model: nn.Module) -> Iterator[None]:
    """Compute the model's calls in the block without the compiler, also inside `compiled_calls`.

    Errors that layers raise are then their own; the compiler wraps them in others.
    """
    before = model._compiled_call_impl
    model._compiled_call_impl = None
    try:
        yield
    finally:
        model._compiled_call_impl = before
