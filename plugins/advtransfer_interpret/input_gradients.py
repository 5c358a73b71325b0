"""Gradients with respect to the inputs, in chunks of fixed size, so that batch and order leave no trace."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.prediction import apply_in_chunks


def input_gradients(
    model: nn.Module, score: Callable[..., Tensor], inputs: Tensor, *more: Tensor
) -> Tensor:
    """The gradient of each sample's score with respect to its input, ``(B, ...)``.

    Args:
        model: Whose weights are held fixed.
        score: From inputs ``(B, ...)`` and what follows them to ``(B,)``; must treat samples independently.
        inputs: Where the gradient is taken.
        *more: What the score needs of each sample beside.
    """

    def gradient(rows: Tensor, *others: Tensor) -> Tensor:
        rows = rows.detach().clone().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(score(rows, *others).sum(), rows)
        return found.detach()

    with weights_frozen(model):
        return apply_in_chunks(gradient, inputs, *more)


def loss_per_sample(model: nn.Module) -> Callable[..., Tensor]:
    """From inputs and labels to each sample's cross-entropy."""
    return lambda inputs, labels: functional.cross_entropy(model(inputs), labels, reduction="none")


def flatten_samples(tensor: Tensor) -> Tensor:
    """``(B, ...)`` as ``(B, n)`` in float64."""
    return tensor.flatten(1).double()


def broadcast_samples(values: Tensor, like: Tensor) -> Tensor:
    """``(B,)`` shaped to multiply ``(B, ...)``."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))
