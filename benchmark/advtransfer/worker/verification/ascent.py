"""Gradient ascent inside a ball in l_inf or l_2: the battery's own attack.

It also records zero and non-finite gradients, which are signs of masked gradients.

It shares no loop with training or with any plugin, since a verifier that runs the loop it verifies
would repeat its faults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.worker.verification.ball import Ball, dual_norm
from advtransfer.worker.verification.config import Norm

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Function from logits ``(B, K)`` and classes ``(B,)`` to one loss per row ``(B,)``.

The classes are the labels, or for `targeted_margin_loss` the labels beside the targets, ``(B, 2)``.
"""


@dataclass(frozen=True, slots=True)
class AscentResult:
    """Result of a gradient ascent, sample by sample.

    Args:
        points: Last iterates ``(B, ...)``; for a broken sample the iterate that broke it.
        broken: Whether an iterate was misclassified, ``(B,)`` bool.
        zero_gradient: Whether a gradient on the way was exactly zero, ``(B,)`` bool.
        non_finite: Whether a logit or a gradient on the way was NaN or infinite, ``(B,)`` bool.
    """

    points: Tensor
    broken: Tensor
    zero_gradient: Tensor
    non_finite: Tensor


def targeted_margin_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the target's logit minus the label's, ``(B,)``, from labels and targets ``(B, 2)``."""
    label_logit, target_logit = logits.gather(1, classes).unbind(1)
    return target_logit - label_logit


def margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest logit of another class minus the label's, ``(B,)``."""
    is_label = nn.functional.one_hot(labels, logits.shape[1]).bool()
    largest = logits.masked_fill(is_label, -torch.inf).amax(1)
    return largest - logits.gather(1, labels[:, None]).squeeze(1)


def cross_entropy_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each row, ``(B,)``: the loss that most attacks ascend."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def gradient_ascent(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    start: Tensor,
    steps: int,
    loss: Loss,
    scale: float = 1.0,
    targets: Tensor | None = None,
    on: bool = False,
) -> AscentResult:
    """Ascend `loss` from `start`; a sample stops at its first misclassified iterate in the ball.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``, the centres of the balls.
        labels: ``(B,)``.
        ball: Ball that the iterates stay in: in l_inf or l_2 (in l_1 see `sparse_ascent`).
        start: ``(B, ...)``, inside the balls.
        steps: Number of steps.
        loss: Loss to ascend.
        scale: Factor of the step lengths.
        targets: Classes ``(B,)`` for `targeted_margin_loss`.
        on: Continue with broken samples until the last step.
    """
    classes = labels if targets is None else torch.stack([labels, targets], dim=1)
    points = start.clone()
    broken = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    zero_gradient = torch.zeros_like(broken)
    non_finite = torch.zeros_like(broken)
    active = torch.arange(len(inputs), device=inputs.device)
    for k in range(steps):
        logits, gradient = logits_and_gradient(model, points[active], classes[active], loss)
        finite = logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        non_finite[active] |= ~finite
        zero_gradient[active] |= (gradient.flatten(1) == 0).all(1)
        # A NaN logit can win the argmax, so a misclassification counts only where all is finite.
        broken[active] |= finite & (logits.argmax(1) != labels[active])
        unfinished = torch.ones_like(finite) if on else ~broken[active]
        active, gradient = active[unfinished], gradient[unfinished]
        if not len(active):
            break
        points[active] = ball.take_step(
            points[active],
            gradient,
            progress=k / (steps - 1) if steps > 1 else 1.0,
            inputs=inputs[active],
            scale=scale,
        )
    if len(active):
        # The iterate after the last step has not been classified yet.
        logits = logits_of(model, points[active])
        finite = logits.isfinite().all(1)
        non_finite[active] |= ~finite
        broken[active] |= finite & (logits.argmax(1) != labels[active])
    return AscentResult(points, broken, zero_gradient, non_finite)


def nearest_targets(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, count: int
) -> Tensor:
    """Return the classes whose decision boundaries seem nearest, nearest first, ``(B, count)``.

    A class is as far as the logits differ over the dual norm of that difference's gradient at the
    image, which is exact for linear models (Melamed et al., 2024, "MALT"). Only the `2 * count`
    classes of largest logit are looked at, since each costs a gradient.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``.
        labels: ``(B,)``.
        norm: Norm of the ball.
        count: Number of classes; all others where there are fewer.
    """
    logits = logits_of(model, inputs)
    others = logits.shape[1] - 1
    is_label = nn.functional.one_hot(labels, logits.shape[1]).bool()
    candidates = logits.masked_fill(is_label, -torch.inf).topk(min(2 * count, others), 1).indices
    distances = []
    for targets in candidates.unbind(1):
        classes = torch.stack([labels, targets], dim=1)
        logits, gradient = logits_and_gradient(model, inputs, classes, targeted_margin_loss)
        slope = dual_norm(gradient, norm).clamp_min(math.ulp(0.0))
        # A NaN would sort differently on other devices.
        distance = -targeted_margin_loss(logits, classes) / slope
        distances.append(distance.nan_to_num(torch.inf))
    order = torch.stack(distances, dim=1).argsort(dim=1, stable=True)
    return candidates.gather(1, order[:, :count])


def logits_and_gradient(
    model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Return logits ``(B, K)`` and the gradient of the loss by the inputs ``(B, ...)``.

    Both are computed in chunks of a fixed size.
    """
    class_count = 0

    def logits_beside_gradient(rows: Tensor, truth: Tensor) -> Tensor:
        nonlocal class_count
        with torch.enable_grad():
            variable = rows.detach().requires_grad_()
            logits = model(variable)
            class_count = logits.shape[1]
            # Summed, not averaged: a sample's gradient is then the same in every batch.
            total = loss(logits, truth).sum()
            # Outputs without a gradient function count as a zero gradient, which is reported.
            if total.requires_grad:
                (gradient,) = torch.autograd.grad(total, variable, materialize_grads=True)
            else:
                gradient = torch.zeros_like(variable)
        return torch.cat([logits.detach(), gradient.flatten(1)], dim=1)

    # `apply_in_chunks` returns one tensor, so both results travel side by side in its columns.
    together = apply_in_chunks(logits_beside_gradient, inputs, labels)
    return together[:, :class_count], together[:, class_count:].view_as(inputs)


def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits ``(B, K)``, computed in chunks of a fixed size."""
    with torch.inference_mode():
        logits = apply_in_chunks(model, inputs)
    # A clone made outside is a normal tensor; inference tensors cannot be updated in place.
    return logits.clone()
