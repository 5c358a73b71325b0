"""Gradients with respect to the inputs, computed in chunks of fixed size.

A gradient therefore depends neither on the batch size nor on the order of the samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.prediction import apply_in_chunks


def input_gradients(
    model: nn.Module, score: Callable[..., Tensor], inputs: Tensor, *score_arguments: Tensor
) -> Tensor:
    """Return the gradient of each sample's score with respect to its input, ``(B, ...)``.

    Args:
        model: The model that the score calls; its weights get no gradients.
        score: Function of inputs ``(B, ...)`` and `score_arguments` that returns ``(B,)``; it must
            treat the samples independently.
        inputs: The inputs at which to differentiate.
        *score_arguments: Further arguments of the score, with one row per sample.
    """

    def chunk_gradients(rows: Tensor, *arguments: Tensor) -> Tensor:
        rows = rows.detach().clone().requires_grad_()
        with torch.enable_grad():
            # Rows are independent, so the gradient of the sum holds the gradient of each row.
            (gradients,) = torch.autograd.grad(score(rows, *arguments).sum(), rows)
        return gradients.detach()

    with weights_frozen(model):
        return apply_in_chunks(chunk_gradients, inputs, *score_arguments)


def loss_per_sample(model: nn.Module) -> Callable[..., Tensor]:
    """Return a function of inputs and labels that gives each sample's cross-entropy, ``(B,)``."""
    return lambda inputs, labels: functional.cross_entropy(model(inputs), labels, reduction="none")


def flatten_samples(tensor: Tensor) -> Tensor:
    """Return a tensor ``(B, ...)`` as ``(B, n)`` in float64."""
    return tensor.flatten(1).double()


def broadcast_samples(values: Tensor, like: Tensor) -> Tensor:
    """Return values ``(B,)`` in a shape and dtype that multiplies ``(B, ...)``."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))
