"""Gradient ascent inside a ball: the battery's own attack.

It also records zero and non-finite gradients, which are signs of masked gradients.

The projections onto the l_2 and l_inf ball are shared with `toolkit.pgd`: pure geometry, tested by
its properties. The loops are kept apart, since a verifier that runs the loop it verifies would
repeat its faults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.pgd import clip_to_bounds, project_to_ball
from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Shape
from advtransfer.worker.verification.config import Norm, ThreatModel

L1_STEP_PIXEL_SHARE = 0.05
"""Share of the pixels that an l_1 step moves, as in the attack of Tramer and Boneh (2019)."""

BISECTION_STEPS = 60
"""Bisections of the l_1 projection's threshold; the interval left is below float32 resolution."""


@dataclass(frozen=True, slots=True)
class Ball:
    """Points within the radius of a threat model around an image, and inside the box."""

    threat: ThreatModel
    bounds: tuple[float, float] | None

    def take_step(self, points: Tensor, gradient: Tensor, *, step: float, inputs: Tensor) -> Tensor:
        """Return the points after one ascent step, inside the balls around `inputs`.

        In l_1 the step goes towards the vertex of the ball that is best for this gradient (Frank
        and Wolfe, 1956). Projected steps would spread the radius over more pixels than pays.

        Args:
            points: ``(B, ...)``.
            gradient: ``(B, ...)``, of the loss at the points.
            step: Length of the step in the norm of the ball.
            inputs: ``(B, ...)``, the centres of the balls.
        """
        norm, eps = self.threat.norm, self.threat.eps
        if norm == "l1":
            vertex = inputs + self._l1_vertex(gradient, inputs)
            return points + min(1.0, step / eps) * (vertex - points)
        return self.project_back(points + step * steepest_direction(gradient, norm), inputs)

    def project_back(self, points: Tensor, inputs: Tensor) -> Tensor:
        """Return the points projected onto the balls around `inputs`, then clipped to the box."""
        norm, eps = self.threat.norm, self.threat.eps
        delta = points - inputs
        projected = _project_l1(delta, eps) if norm == "l1" else project_to_ball(delta, norm, eps)
        # The box comes last and leaves the ball intact: it moves each pixel towards the input's.
        return clip_to_bounds(inputs + projected, self.bounds)

    def _l1_vertex(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Return the offset in the l_1 ball and the box that maximises its product with `gradient`.

        The pixels of steepest gradient go to the edge of the box, in order, until eps is spent.
        """
        low, high = self.bounds or (-torch.inf, torch.inf)
        # On the CPU: torch has no deterministic cumulative sum on CUDA.
        slopes = gradient.flatten(1).cpu()
        pixels = inputs.flatten(1).cpu()
        room_to_edge = torch.where(slopes > 0, high - pixels, pixels - low)
        # Pixels with zero gradient get no room: moving them would spend eps for nothing.
        room = room_to_edge.clamp(max=self.threat.eps) * slopes.sign().abs()
        # Stable, so that pixels of equal slope are always taken in the same order.
        order = slopes.abs().argsort(dim=1, descending=True, stable=True)
        sorted_room = room.gather(1, order)
        spent_before = sorted_room.cumsum(1) - sorted_room
        spent = (self.threat.eps - spent_before).clamp_min(0).minimum(sorted_room)
        offset = slopes.sign() * torch.zeros_like(room).scatter(1, order, spent)
        return offset.view_as(inputs).to(inputs)

    def surface_points(self, keys: Iterable[int], shape: Shape, *, what: str, draws: int) -> Tensor:
        """Return random offsets of length eps, ``(B, draws, *shape)``.

        Args:
            keys: Sample keys. Each sample has its own random stream, so its points depend neither
                on the batch nor on the other samples.
            shape: Shape of one input.
            what: Name of the random stream.
            draws: Points for each sample.
        """
        drawn = torch.stack(
            [
                torch.randn(draws, *shape, generator=stream_generator("battery", what, key))
                for key in keys
            ]
        )
        points = steepest_direction(drawn.flatten(0, 1), self.threat.norm).view_as(drawn)
        return self.threat.eps * points


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the step of length 1 of steepest ascent, ``(B, ...)``; 0 where the gradient is 0.

    In l_1 the step is shared by the steepest pixels: a step along a single pixel would mostly be
    cut off by the box.
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l1":
        flat = gradient.flatten(1)
        count = max(1, round(L1_STEP_PIXEL_SHARE * flat.shape[1]))
        threshold = flat.abs().topk(count, dim=1).values[:, -1:]
        return (flat.sign() * (flat.abs() >= threshold) / count).view_as(gradient)
    # Divide by the largest entry before taking the norm: squares of small numbers underflow to 0.
    largest = gradient.flatten(1).abs().amax(1).clamp_min(math.ulp(0.0))
    scaled = gradient / largest.view(-1, *[1] * (gradient.ndim - 1))
    scaled = scaled.nan_to_num(0.0, 0.0, 0.0)
    lengths: Tensor = torch.linalg.vector_norm(
        scaled, dim=tuple(range(1, scaled.ndim)), keepdim=True
    )
    return scaled / lengths.clamp_min(1.0)


def _project_l1(delta: Tensor, eps: float) -> Tensor:
    """Return the nearest point of the l_1 ball to each `delta`.

    Every entry shrinks by one threshold, which is found by bisection.
    """
    size = delta.flatten(1).abs()
    low = torch.zeros_like(size[:, :1])
    high = size.amax(1, keepdim=True)
    outside = size.sum(1, keepdim=True) > eps
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        too_small = (size - middle).clamp_min(0).sum(1, keepdim=True) > eps
        low = torch.where(too_small, middle, low)
        high = torch.where(too_small, high, middle)
    # The upper end of the interval, so that rounding leaves the point inside the ball.
    shrunk = (size - torch.where(outside, high, 0.0)).clamp_min(0)
    return delta.sign() * shrunk.view_as(delta)


Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Function from logits ``(B, K)`` and labels ``(B,)`` to one loss per row ``(B,)``."""


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


def margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit minus the label's logit, ``(B,)``.

    Unlike that of cross-entropy, its gradient does not vanish for confident models.
    """
    is_label = nn.functional.one_hot(labels, logits.shape[1]).bool()
    best_other = logits.masked_fill(is_label, -torch.inf).amax(1)
    return best_other - logits.masked_fill(~is_label, 0).sum(1)


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
    step: float,
    loss: Loss,
    on: bool = False,
) -> AscentResult:
    """Ascend `loss` from `start`; a sample stops at its first misclassified iterate.

    Step lengths fall linearly from `step` towards a tenth of it.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``, the centres of the balls.
        labels: ``(B,)``.
        ball: Ball that the iterates stay in.
        start: ``(B, ...)``, inside the balls.
        steps: Number of steps.
        step: Length of the first step.
        loss: Loss to ascend.
        on: Continue with broken samples until the last step.
    """
    points = start.clone()
    broken = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    zero_gradient = torch.zeros_like(broken)
    non_finite = torch.zeros_like(broken)
    active = torch.arange(len(inputs), device=inputs.device)
    for k in range(steps):
        logits, gradient = logits_and_gradient(model, points[active], labels[active], loss)
        finite = logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        non_finite[active] |= ~finite
        zero_gradient[active] |= (gradient.flatten(1) == 0).all(1)
        # A NaN logit can win the argmax, so a misclassification counts only where all is finite.
        broken[active] |= finite & (logits.argmax(1) != labels[active])
        unfinished = torch.ones_like(finite) if on else ~broken[active]
        active, gradient = active[unfinished], gradient[unfinished]
        if not len(active):
            break
        length = step * (1 - 0.9 * k / steps)
        points[active] = ball.take_step(
            points[active], gradient, step=length, inputs=inputs[active]
        )
    if len(active):
        # The iterate after the last step has not been classified yet.
        logits = logits_of(model, points[active])
        finite = logits.isfinite().all(1)
        non_finite[active] |= ~finite
        broken[active] |= finite & (logits.argmax(1) != labels[active])
    return AscentResult(points, broken, zero_gradient, non_finite)


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
