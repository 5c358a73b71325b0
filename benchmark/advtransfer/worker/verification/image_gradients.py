"""Gradients at the images themselves, from one pass, which several probes of a battery share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.worker.verification.ascent import (
    cross_entropy_loss,
    input_gradient,
    targeted_margin_loss,
)
from advtransfer.worker.verification.ball import dual_norm
from advtransfer.worker.verification.config import Norm


@dataclass(frozen=True, slots=True)
class ImageGradients:
    """Gradients at images, and the classes that are nearest by them.

    Args:
        cross_entropy: Gradients of the cross-entropy, ``(B, ...)``.
        likeliest_margin: Those of the margin of the class of largest logit but the label, ``(B, ...)``.
        targets: The classes whose decision boundaries seem nearest, nearest first, ``(B, T)``.
        target_margins: Gradients of their margins, ``(B, T, ...)``.
    """

    cross_entropy: Tensor
    likeliest_margin: Tensor
    targets: Tensor
    target_margins: Tensor


def image_gradients(
    model: nn.Module, inputs: Tensor, labels: Tensor, logits: Tensor, *, norm: Norm, count: int
) -> ImageGradients:
    """Return the gradients at images, and the nearest classes.

    A class is as far as the logits differ over the dual norm of that difference's gradient at the
    image, which is exact for linear models (Melamed et al., 2024, "MALT"). Only the `2 * count`
    classes of largest logit are looked at, since each costs a gradient.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``.
        labels: ``(B,)``.
        logits: The model's logits for the inputs, ``(B, K)``.
        norm: Norm of the ball.
        count: Number of classes; all others where there are fewer.
    """
    candidates = other_classes(logits, labels)[:, : 2 * count]

    def all_gradients(rows: Tensor, classes: Tensor) -> Tensor:
        with torch.enable_grad():
            variable = rows.detach().requires_grad_()
            outputs = model(variable)
            losses = [cross_entropy_loss(outputs, classes[:, 0])]
            for column in range(1, classes.shape[1]):
                losses.append(targeted_margin_loss(outputs, classes[:, [0, column]]))
            gradients = [input_gradient(loss, variable, keep_graph=True) for loss in losses]
        return torch.stack(gradients, dim=1)

    classes = torch.cat([labels[:, None], candidates], dim=1)
    gradients = apply_in_chunks(all_gradients, inputs, classes)
    margins = gradients[:, 1:]
    slopes = torch.stack([dual_norm(each, norm) for each in margins.unbind(1)], dim=1)
    gaps = logits.gather(1, labels[:, None]) - logits.gather(1, candidates)
    # A NaN would sort differently on other devices.
    distances = (gaps / slopes.clamp_min(math.ulp(0.0))).nan_to_num(torch.inf)
    nearest = distances.argsort(dim=1, stable=True)[:, :count]
    return ImageGradients(
        gradients[:, 0],
        margins[:, 0],
        candidates.gather(1, nearest),
        margins[torch.arange(len(nearest), device=nearest.device)[:, None], nearest],
    )


def other_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the classes but the label, that of the largest logit first, ``(B, K - 1)``."""
    is_label = nn.functional.one_hot(labels, logits.shape[1]).bool()
    order = logits.masked_fill(is_label, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, :-1]
