"""Gradients through layers that have none: backward pass differentiable approximation (BPDA).

A module that does not differentiate, such as one that rounds, may have a method ``surrogate(inputs)`` that returns
a differentiable stand-in for its outputs, of their shape. It serves gradients only: no answer of the model changes.
A module is stood in for where it is called, not where its other methods are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError


def offers_surrogate(model: nn.Module) -> bool:
    """Return whether a module of the model has a method ``surrogate``."""
    return any(_has_surrogate(module) for module in model.modules())


@contextmanager
def surrogate_gradients(model: nn.Module) -> Iterator[None]:
    """Take gradients in the block through the surrogates that modules of the model offer.

    The forward pass stays the modules' own, and the backward pass becomes that of their surrogates (Athalye,
    Carlini and Wagner, 2018, section 4.1). Without a surrogate nothing changes.

    Raises:
        ModelError: A surrogate returns another shape than its module.
    """
    with _hooked(model, _replace_gradient):
        yield


@contextmanager
def surrogate_outputs(model: nn.Module) -> Iterator[None]:
    """Run the surrogates that modules of the model offer in the place of the modules.

    Raises:
        ModelError: A surrogate returns another shape than its module.
    """
    with _hooked(model, _stand_in):
        yield


def _has_surrogate(module: nn.Module) -> bool:
    return callable(getattr(module, "surrogate", None))


@contextmanager
def _hooked(model: nn.Module, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    handles = [
        module.register_forward_hook(hook) for module in model.modules() if _has_surrogate(module)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stand_in(module: Any, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:  # noqa: ANN401  # Any: torch's modules do not declare the method
    stand_in: Tensor = module.surrogate(*inputs)
    if stand_in.shape != outputs.shape:
        raise ModelError(
            f"found a surrogate of shape {tuple(stand_in.shape)} from {type(module).__name__}; expected "
            f"{tuple(outputs.shape)}, that of its outputs; let surrogate(inputs) stand in for forward(inputs)"
        )
    return stand_in


def _replace_gradient(
    module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor
) -> Tensor | None:
    """Return the module's outputs with the gradient of its surrogate; None where no gradient is asked for."""
    if not torch.is_grad_enabled():
        return None
    stand_in = _stand_in(module, inputs, outputs)
    # The difference is 0, and carries the gradient.
    return outputs.detach() + (stand_in - stand_in.detach())
