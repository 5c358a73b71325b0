"""Modules in the memory of this process, which sources name by a nonce while a call uses them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from advtransfer.errors import BadInput, Problem
from advtransfer.toolkit.module_network import ModuleNetwork, wrap_module
from advtransfer.types import Context, Shape, SourceCard, Weights
from advtransfer.types.in_memory import CANNOT_BE_REBUILT


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleInMemory:
    """A source whose network is a copy of a module, taken when a call began.

    Args:
        module: The copy; each network is a copy of it again.
        shape: The shape of one input.
        outputs: Number of logits.
        blocks: Paths of the modules where blocks begin; empty to find them.
        head: Path of the module that gives the logits; required with `blocks`.
        normalise: Applied to the inputs first; None for none.
        data: What the module was trained on, in words.
    """

    module: nn.Module
    shape: Shape
    outputs: int
    blocks: tuple[str, ...] = ()
    head: str | None = None
    normalise: nn.Module | None = None
    data: str = "not stated"

    def card(self) -> SourceCard:
        """Return the card, which claims nothing but the sizes."""
        return SourceCard(
            architecture=type(self.module).__name__,
            data=self.data,
            constraint="none",
            shape=self.shape,
            outputs=self.outputs,
            citation=CANNOT_BE_REBUILT,
        )

    def network(self) -> ModuleNetwork:
        """Return a network around a copy of the module, with the module's weights."""
        return wrap_module(
            copy.deepcopy(self.module),
            self.shape,
            blocks=self.blocks,
            head=self.head,
            normalise=copy.deepcopy(self.normalise),
        )

    def weights(self, context: Context) -> Weights:
        """Return the module's weights."""
        state = self.network().state_dict()
        return Weights({name: value.detach().clone() for name, value in state.items()})


_modules: dict[str, ModuleInMemory] = {}


@contextmanager
def hold_modules(modules: Mapping[str, ModuleInMemory]) -> Iterator[None]:
    """Let sources of this process name these modules, by nonce, while the code inside runs."""
    _modules.update(modules)
    try:
        yield
    finally:
        for nonce in modules:
            _modules.pop(nonce, None)


def find_module(nonce: str) -> ModuleInMemory:
    """Return a module that a running call of this process holds.

    Raises:
        BadInput: No such call runs here.
    """
    if nonce in _modules:
        return _modules[nonce]
    problem = Problem(
        f"the module {nonce[:12]} of a Python call that has ended or runs in another process "
        f"({CANNOT_BE_REBUILT})",
        "a module that this process holds",
        "call advtransfer.run again with sources=..., or give the source rebuild=(factory, kwargs)",
    )
    raise BadInput([problem])


def count_logits(module: nn.Module, normalise: nn.Module | None, shape: Shape) -> int:
    """Return the number of logits that a module returns for one input.

    Raises:
        ValueError: It fails on an input of this shape, or does not return logits ``(B, outputs)``.
    """
    trial = copy.deepcopy(module).eval()
    weight = next(trial.parameters(), torch.empty(0))
    inputs = torch.full((2, *shape), 0.5, device=weight.device)
    with torch.no_grad():
        moved = inputs if normalise is None else copy.deepcopy(normalise).to(weight.device)(inputs)
        logits = trial(moved)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 2:
        kind = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"found {kind} for 2 inputs; expected logits of shape (2, outputs)")
    return logits.shape[1]
