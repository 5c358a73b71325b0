"""Losses of input gradients, whose weight gradients are computed before the training loop asks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


def precomputed_gradient_loss(loss: Tensor, model: nn.Module) -> Tensor:
    """Return the loss with weight gradients computed beforehand; `backward` accumulates them.

    Value and weight gradients are those of `loss`. Where a loss depends on gradients with respect
    to the inputs, its own `backward` would also differentiate with respect to these inputs, an
    unneeded second pass through the first layer.

    Args:
        loss: The loss, a scalar.
        model: The model whose trained weights get the gradients.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    used_weights = []
    used_gradients = []
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is not None:
            used_weights.append(weight)
            used_gradients.append(gradient)
    # The weights are arguments so that autograd asks `backward` for their gradients.
    precomputed: Tensor = _PrecomputedGradients.apply(loss.detach(), used_gradients, *used_weights)
    return precomputed


class _SavedGradients(Protocol):
    """The context that torch passes from forward to backward."""

    gradients: list[Tensor]


class _PrecomputedGradients(torch.autograd.Function):
    """Identity of a loss, with given gradients."""

    @staticmethod
    def forward(ctx: _SavedGradients, loss: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: _SavedGradients, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(upstream * gradient for gradient in ctx.gradients)
