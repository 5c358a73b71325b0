"""A loss whose gradients are taken before it is handed on: those of the weights, and of nothing else."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


def settled(loss: Tensor, model: nn.Module) -> Tensor:
    """The same value; `backward` gives the weights of `model` that are trained the same gradients.

    Where a loss depends on gradients with respect to the inputs, its own `backward` would differentiate with respect to
    these inputs, too: twice through the first layer, for nothing.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    used = [(weight, gradient) for weight, gradient in zip(weights, found, strict=True) if gradient is not None]
    known: Tensor = _Settled.apply(loss.detach(), [gradient for _, gradient in used], *(weight for weight, _ in used))
    return known


class _Kept(Protocol):
    """What torch carries from forward to backward."""

    gradients: list[Tensor]


class _Settled(torch.autograd.Function):
    """A loss as it is, with gradients that are known."""

    @staticmethod
    def forward(ctx: _Kept, loss: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: _Kept, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(upstream * gradient for gradient in ctx.gradients)
