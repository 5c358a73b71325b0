"""Input gradients, and the distance between those of student and teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer_igam.options import GradientTarget, Reduction

MIN_SQUARED_NORM = 1e-12
"""Lower bound of squared l2 norms, so that a constant image stays finite."""


def input_gradients(
    logits: Tensor,
    labels: Tensor,
    inputs: Tensor,
    *,
    of: GradientTarget,
    differentiable: bool = False,
) -> Tensor:
    """Return the gradient of each sample's loss, or class probability, with respect to its input.

    Chan et al. (2020), equations 8 and 9 for the student and the teacher. The gradient of the loss
    is that of the probability times ``-1 / probability``.

    Args:
        logits: ``(B, K)``, computed from `inputs`.
        labels: ``(B,)``.
        inputs: ``(B, ...)`` with ``requires_grad``.
        of: The differentiated quantity.
        differentiable: Keep the graph, so that the gradients can be differentiated; otherwise they
            are detached.
    """
    # Summed, not averaged: a sample's gradient is then the same in every batch.
    if of == "loss":
        score = functional.cross_entropy(logits, labels, reduction="sum")
    else:
        # The released code differentiates the probability, although equation 8 has the loss.
        score = logits.softmax(1).gather(1, labels.unsqueeze(1)).sum()
    (gradients,) = torch.autograd.grad(score, inputs, create_graph=differentiable)
    return gradients


def gradient_distance(student: Tensor, teacher: Tensor, *, reduction: Reduction) -> Tensor:
    """Return the squared l2 distance between gradients ``(B, ...)``, as one number.

    L_diff of Chan et al. (2020, equation 13).
    """
    squares = (student - teacher).square()
    match reduction:
        case "sum":
            return squares.sum()
        case "sample_mean":
            return squares.flatten(1).sum(1).mean()
        case "mean":
            return squares.mean()


def l2_standardized(images: Tensor) -> Tensor:
    """Return each image ``(C, H, W)`` of a batch minus its mean, divided by its l2 norm."""
    centred = images - images.mean((1, 2, 3), keepdim=True)
    squared_norms = centred.square().sum((1, 2, 3), keepdim=True)
    # The square root has no gradient at 0, so the square is bounded before the root is taken.
    return centred / squared_norms.clamp_min(MIN_SQUARED_NORM).sqrt()


class L2Standardize(nn.Module):
    """`l2_standardized` as a module that normalizes images."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the standardized images, ``(B, C, H, W)``."""
        return l2_standardized(images)
