"""Input gradients and the distance between two of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer_igam.options import GradientTarget, Reduction

MIN_SQUARED_NORM = 1e-12
"""Squared l2 norms below this count as this, so that a flat image stays finite."""


def input_gradients(
    logits: Tensor,
    labels: Tensor,
    inputs: Tensor,
    *,
    of: GradientTarget,
    differentiable: bool = False,
) -> Tensor:
    """The gradient of each sample's loss, or of its true class's probability, with respect to its input.

    Args:
        logits: ``(B, K)``, computed from `inputs`.
        labels: ``(B,)``.
        inputs: ``(B, ...)`` with ``requires_grad``.
        of: What is differentiated. The one is the other times ``-1 / probability``.
        differentiable: Whether the gradients can be differentiated themselves; else they are detached.
    """
    # summed, not averaged: a sample's gradient is then the same in every batch
    if of == "loss":
        score = functional.cross_entropy(logits, labels, reduction="sum")
    else:
        score = logits.softmax(1).gather(1, labels.unsqueeze(1)).sum()
    (gradients,) = torch.autograd.grad(score, inputs, create_graph=differentiable)
    return gradients


def gradient_distance(student: Tensor, teacher: Tensor, *, reduction: Reduction) -> Tensor:
    """The squared l2 distance between gradients ``(B, ...)``, as one number."""
    squares = (student - teacher).square()
    match reduction:
        case "sum":
            return squares.sum()
        case "sample_mean":
            return squares.flatten(1).sum(1).mean()
        case "mean":
            return squares.mean()


def l2_standardized(images: Tensor) -> Tensor:
    """Each image ``(C, H, W)`` of a batch minus its mean, divided by its l2 norm."""
    centred = images - images.mean((1, 2, 3), keepdim=True)
    # the square root has no gradient at 0, so the square is bounded before it is taken
    return (
        centred / centred.square().sum((1, 2, 3), keepdim=True).clamp_min(MIN_SQUARED_NORM).sqrt()
    )


class L2Standardize(nn.Module):
    """`l2_standardized` as a normalisation of images."""

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return l2_standardized(images)
