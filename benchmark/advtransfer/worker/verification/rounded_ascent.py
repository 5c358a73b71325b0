"""Ascent among points like the data: the battery's attack on models that tell attacks from data.

A model can answer images with one network and what looks attacked with another, more robust one. An
attack that knows of such a detector passes it (Carlini and Wagner, 2017, "Adversarial examples are
not easily detected"): here it starts from the image, and takes only the values and moves only the
pixels that the data use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.worker.verification.ascent import logits_and_gradient, targeted_margin_loss
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.data_support import DataSupport


def rounded_ascent(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    ball: Ball,
    support: DataSupport,
    steps: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Ascend the targeted margin from the image, along gradients at points like the data.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``, the centres of the balls and the first iterates.
        labels: ``(B,)``.
        targets: Classes ``(B,)`` to aim at.
        ball: Ball that all points stay in.
        support: The values and pixels that the points use.
        steps: Number of steps.
        scale: Factor of the step lengths.

    Returns:
        Points ``(B, ...)``, and whether the model misclassifies them, ``(B,)`` bool.
    """
    found = inputs.clone()
    iterates = inputs.clone()
    broken = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    active = torch.arange(len(inputs), device=inputs.device)
    classes = torch.stack([labels, targets], dim=1)
    for step in range(steps + 1):
        points = support.restrict(iterates[active], inputs[active], ball=ball)
        logits, gradient = logits_and_gradient(model, points, classes[active], targeted_margin_loss)
        is_fooled = logits.isfinite().all(1) & (logits.argmax(1) != labels[active])
        found[active[is_fooled]] = points[is_fooled]
        broken[active[is_fooled]] = True
        active, gradient = active[~is_fooled], gradient[~is_fooled]
        if not len(active):
            break
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        if support.used is not None:
            # A step in l_2 or l_1 spends its length on the pixels that may move.
            gradient = gradient * support.used
        iterates[active] = ball.take_step(
            iterates[active],
            gradient,
            progress=min(1.0, step / max(1, steps - 1)),
            inputs=inputs[active],
            scale=scale,
        )
    return found, broken
