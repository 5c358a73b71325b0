"""The battery's own attack: gradient ascent that watches what the gradients are worth on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.trial.battery.ball import Ball

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(B, K)`` and labels ``(B,)`` to a loss for each row."""


@dataclass(frozen=True, slots=True)
class Climbed:
    """Where an attack came to, sample by sample.

    Args:
        points: The last iterate ``(B, ...)``; of a broken sample the one that broke it.
        broken: Whether an iterate was misclassified, ``(B,)`` bool.
        flat: Whether a gradient on the way was exactly zero.
        infinite: Whether a logit or a gradient on the way was NaN or infinite.
    """

    points: Tensor
    broken: Tensor
    flat: Tensor
    infinite: Tensor


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the best other class is ahead; its gradient does not vanish however sure a model is."""
    own = nn.functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).amax(1) - logits.masked_fill(~own, 0).sum(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """What most attacks ascend."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def climb(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    start: Tensor,
    steps: int,
    step: float,
    loss: Loss,
    on: bool = False,
) -> Climbed:
    """Ascend `loss` from `start`, the steps falling evenly from `step` to a tenth of it; a broken sample stops.

    Args:
        model: In eval mode, its weights frozen.
        inputs: ``(B, ...)``, the centres of the balls.
        labels: ``(B,)``.
        ball: Where points may lie.
        start: ``(B, ...)``, inside.
        steps: How many.
        step: The length of the first.
        loss: What is ascended.
        on: Go on with broken samples too, to the end.
    """
    points = start.clone()
    broken, flat, infinite = (torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device) for _ in range(3))
    standing = torch.arange(len(inputs), device=inputs.device)
    for k in range(steps):
        logits, gradient = slopes(model, points[standing], labels[standing], loss)
        finite = logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        infinite[standing] |= ~finite
        flat[standing] |= (gradient.flatten(1) == 0).all(1)
        broken[standing] |= finite & (logits.argmax(1) != labels[standing])
        going = torch.ones_like(finite) if on else ~broken[standing]
        standing, gradient = standing[going], gradient[going]
        if not len(standing):
            break
        length = step * (1 - 0.9 * k / steps)
        points[standing] = ball.move(points[standing], gradient, step=length, inputs=inputs[standing])
    if len(standing):
        logits = logits_of(model, points[standing])
        finite = logits.isfinite().all(1)
        infinite[standing] |= ~finite
        broken[standing] |= finite & (logits.argmax(1) != labels[standing])
    return Climbed(points, broken, flat, infinite)


def slopes(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Logits ``(B, K)`` and the loss's gradient by the inputs ``(B, ...)``, in fixed chunks."""
    width = 0

    def both(rows: Tensor, truth: Tensor) -> Tensor:
        nonlocal width
        with torch.enable_grad():
            moved = rows.detach().requires_grad_()
            logits = model(moved)
            width = logits.shape[1]
            # summed, not averaged: a sample's gradient is then the same in every batch
            found = loss(logits, truth).sum()
            # an output that no gradient leads back from has a zero one, and that is told
            gradient = (
                torch.autograd.grad(found, moved, materialize_grads=True)[0]
                if found.requires_grad
                else torch.zeros_like(moved)
            )
        return torch.cat([logits.detach(), gradient.flatten(1)], dim=1)

    together = apply_in_chunks(both, inputs, labels)
    return together[:, :width], together[:, width:].view_as(inputs)


def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits ``(B, K)``, in fixed chunks."""
    with torch.inference_mode():
        found = apply_in_chunks(model, inputs)
    return found.clone()
