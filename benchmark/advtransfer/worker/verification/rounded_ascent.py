"""Ascent on the data's own levels: the battery's attack on models that tell attacks from data.

Pixels of stored images take few values, such as multiples of 1/255. Points of an ascent lie between
them, so a model can answer the data with one network and all attacks with another, more robust one.
An attack that knows of such a detector passes it (Carlini and Wagner, 2017, "Adversarial examples
are not easily detected"): here it starts from the image and classifies rounded points only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.worker.verification.ascent import logits_and_gradient, targeted_margin_loss
from advtransfer.worker.verification.ball import Ball

MOST_LEVELS = 255
"""Most steps from the lower to the upper bound that are looked for: those of 8 bits."""

LEVEL_TOLERANCE = 1e-3
"""Largest deviation of a pixel from its level, in steps: above what float32 rounds."""


FEW_VALUES = 1000
"""About how many values of pixels are tried before all of them."""


def data_levels(inputs: Tensor, bounds: tuple[float, float] | None) -> int | None:
    """Return into how many equal steps the pixels divide the range, the fewest, or None.

    Args:
        inputs: ``(B, ...)``.
        bounds: Range of the pixels; without one there are no levels.
    """
    if bounds is None:
        return None
    low, high = bounds
    values = torch.unique(inputs)
    # Mostly a few values tell that there are no levels: the others may be millions.
    few = values[:: len(values) // FEW_VALUES + 1]
    for levels in range(1, MOST_LEVELS + 1):
        if all(_are_on_levels(each, low, high, levels) for each in (few, values)):
            return levels
    return None


def _are_on_levels(values: Tensor, low: float, high: float, levels: int) -> bool:
    steps = (values.double() - low) / (high - low) * levels
    return bool(((steps - steps.round()).abs() <= LEVEL_TOLERANCE).all())


def round_inside(points: Tensor, inputs: Tensor, *, ball: Ball, levels: int) -> Tensor:
    """Return points on the levels and in the balls, near `points`, ``(B, ...)``.

    Args:
        points: ``(B, ...)``, in the balls.
        inputs: ``(B, ...)``, the centres of the balls, on the levels.
        ball: A ball with bounds.
        levels: Result of `data_levels`.
    """
    low, high = ball.bounds or (0.0, 1.0)
    step = (high - low) / levels
    centres = ((inputs - low) / step).round()
    offsets = (points - inputs) / step
    radius = ball.threat.eps / step * (1 + 1e-6)
    if ball.threat.norm == "linf":
        whole = offsets.round().clamp(-(radius // 1), radius // 1)
    else:
        whole = _whole_offsets(offsets, radius, order={"l2": 2, "l1": 1}[ball.threat.norm])
    return (centres + whole).clamp(0, levels) / levels * (high - low) + low


def _whole_offsets(offsets: Tensor, radius: float, *, order: int) -> Tensor:
    """Return whole offsets of at most this length: the largest ones, rounded, at least one step each."""
    # On the CPU: torch has no deterministic cumulative sum on CUDA.
    sizes = offsets.flatten(1).abs().cpu().double()
    whole = sizes.round().clamp_min(1) * (sizes > 0)
    # Stable, so that pixels of equal offset are always taken in the same order.
    largest_first = sizes.argsort(dim=1, descending=True, stable=True)
    spent = whole.gather(1, largest_first).pow(order).cumsum(1)
    is_kept = torch.zeros_like(whole).scatter(1, largest_first, (spent <= radius**order).double())
    return offsets.sign() * (whole * is_kept).view_as(offsets).to(offsets)


def rounded_ascent(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    ball: Ball,
    levels: int | None,
    steps: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Ascend the targeted margin from the image, along gradients at rounded points.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``, the centres of the balls and the first iterates.
        labels: ``(B,)``.
        targets: Classes ``(B,)`` to aim at.
        ball: Ball that all points stay in.
        levels: Result of `data_levels`; with None, or where no step fits into the ball, points are
            not rounded.
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
    if levels is not None and not _fits_a_step(ball, levels):
        levels = None
    for step in range(steps + 1):
        points = iterates[active]
        if levels is not None:
            points = round_inside(points, inputs[active], ball=ball, levels=levels)
        logits, gradient = logits_and_gradient(model, points, classes[active], targeted_margin_loss)
        is_fooled = logits.isfinite().all(1) & (logits.argmax(1) != labels[active])
        found[active[is_fooled]] = points[is_fooled]
        broken[active[is_fooled]] = True
        active, gradient = active[~is_fooled], gradient[~is_fooled]
        if not len(active):
            break
        iterates[active] = ball.take_step(
            iterates[active],
            gradient.nan_to_num(0.0, 0.0, 0.0),
            progress=min(1.0, step / max(1, steps - 1)),
            inputs=inputs[active],
            scale=scale,
        )
    return found, broken


def _fits_a_step(ball: Ball, levels: int) -> bool:
    low, high = ball.bounds or (0.0, 1.0)
    return ball.threat.eps * levels * (1 + 1e-6) >= high - low
