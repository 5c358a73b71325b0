"""Gradient ascent inside a ball.

The battery's own attack, which also records zero and non-finite gradients.
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
"""The share of the pixels that l_1 noise moves, as the steps of Tramer and Boneh (2019) do."""

BISECTION_STEPS = 60
"""Of the interval in which the l_1 projection's threshold is looked for: below what float32 resolves."""


@dataclass(frozen=True, slots=True)
class Ball:
    """The points within a threat's radius of an image, and inside the box."""

    threat: ThreatModel
    bounds: tuple[float, float] | None

    def take_step(self, points: Tensor, gradient: Tensor, *, step: float, inputs: Tensor) -> Tensor:
        """A step of this length along the gradient, brought back around `inputs`; all ``(B, ...)``.

        In l_1 the step goes towards the best point of the ball for this gradient (Frank and Wolfe, 1956): steps and
        projections would leave the radius spread over more pixels than pay.
        """
        norm, eps = self.threat.norm, self.threat.eps
        if norm == "l1":
            return points + min(1.0, step / eps) * (
                inputs + self._l1_vertex(gradient, inputs) - points
            )
        return self.project_back(points + step * steepest_direction(gradient, norm), inputs)

    def project_back(self, points: Tensor, inputs: Tensor) -> Tensor:
        """The points, brought back into the balls around `inputs`, then into the box."""
        norm, eps = self.threat.norm, self.threat.eps
        delta = points - inputs
        return clip_to_bounds(
            inputs
            + (_project_l1(delta, eps) if norm == "l1" else project_to_ball(delta, norm, eps)),
            self.bounds,
        )

    def _l1_vertex(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """The best way up in the l_1 ball and the box: the steepest pixels go to the edge, until eps is spent."""
        low, high = self.bounds or (-torch.inf, torch.inf)
        # on the CPU: torch has no cumulative sum on CUDA that gives the same bits again
        slopes, pixels = gradient.flatten(1).cpu(), inputs.flatten(1).cpu()
        room = (
            torch.where(slopes > 0, high - pixels, pixels - low).clamp(max=self.threat.eps)
            * slopes.sign().abs()
        )
        order = slopes.abs().argsort(dim=1, descending=True, stable=True)
        rooms = room.gather(1, order)
        spent = (self.threat.eps - (rooms.cumsum(1) - rooms)).clamp_min(0).minimum(rooms)
        return (
            (slopes.sign() * torch.zeros_like(room).scatter(1, order, spent))
            .view_as(inputs)
            .to(inputs)
        )

    def surface_points(self, keys: Iterable[int], shape: Shape, *, what: str, draws: int) -> Tensor:
        """Steps of the whole radius along random gradients, by sample key, ``(B, draws, *shape)``."""
        drawn = torch.stack(
            [
                torch.randn(draws, *shape, generator=stream_generator("battery", what, key))
                for key in keys
            ]
        )
        points = steepest_direction(drawn.flatten(0, 1), self.threat.norm).view_as(drawn)
        return self.threat.eps * points


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 that ascends fastest, ``(B, ...)``; none where the gradient is zero.

    In l_1 it is shared by the steepest pixels, so that the box does not hold all of it back.
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l1":
        flat = gradient.flatten(1)
        count = max(1, round(L1_STEP_PIXEL_SHARE * flat.shape[1]))
        least = flat.abs().topk(count, dim=1).values[:, -1:]
        return (flat.sign() * (flat.abs() >= least) / count).view_as(gradient)
    # by its largest entry first: squares of small numbers are zero
    scaled = gradient / gradient.flatten(1).abs().amax(1).clamp_min(math.ulp(0.0)).view(
        -1, *[1] * (gradient.ndim - 1)
    )
    scaled = scaled.nan_to_num(0.0, 0.0, 0.0)
    lengths: Tensor = torch.linalg.vector_norm(
        scaled, dim=tuple(range(1, scaled.ndim)), keepdim=True
    )
    return scaled / lengths.clamp_min(1.0)


def _project_l1(delta: Tensor, eps: float) -> Tensor:
    """The point of the l_1 ball nearest to each ``delta``: every entry shrunk by one threshold, found by bisection."""
    size = delta.flatten(1).abs()
    low, high = torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True)
    outside = size.sum(1, keepdim=True) > eps
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        far = (size - middle).clamp_min(0).sum(1, keepdim=True) > eps
        low, high = torch.where(far, middle, low), torch.where(far, high, middle)
    shrunk = (size - torch.where(outside, high, 0.0)).clamp_min(0)
    return delta.sign() * shrunk.view_as(delta)


Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(B, K)`` and labels ``(B,)`` to a loss for each row."""


@dataclass(frozen=True, slots=True)
class AscentResult:
    """Where an attack came to, sample by sample.

    Args:
        points: The last iterate ``(B, ...)``; of a broken sample the one that broke it.
        broken: Whether an iterate was misclassified, ``(B,)`` bool.
        flat: Whether a gradient on the way was exactly zero.
        infinite: Whether a logit or a gradient on the way was NaN or infinite.
    """

    points: Tensor
    broken: Tensor
    zero_gradient: Tensor
    non_finite: Tensor


def margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the best other class is ahead; its gradient does not vanish however sure a model is."""
    own = nn.functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).amax(1) - logits.masked_fill(~own, 0).sum(1)


def cross_entropy_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """What most attacks ascend."""
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
    broken, flat, infinite = (
        torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device) for _ in range(3)
    )
    standing = torch.arange(len(inputs), device=inputs.device)
    for k in range(steps):
        logits, gradient = logits_and_gradient(model, points[standing], labels[standing], loss)
        finite = logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        infinite[standing] |= ~finite
        flat[standing] |= (gradient.flatten(1) == 0).all(1)
        broken[standing] |= finite & (logits.argmax(1) != labels[standing])
        going = torch.ones_like(finite) if on else ~broken[standing]
        standing, gradient = standing[going], gradient[going]
        if not len(standing):
            break
        length = step * (1 - 0.9 * k / steps)
        points[standing] = ball.take_step(
            points[standing], gradient, step=length, inputs=inputs[standing]
        )
    if len(standing):
        logits = logits_of(model, points[standing])
        finite = logits.isfinite().all(1)
        infinite[standing] |= ~finite
        broken[standing] |= finite & (logits.argmax(1) != labels[standing])
    return AscentResult(points, broken, flat, infinite)


def logits_and_gradient(
    model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss
) -> tuple[Tensor, Tensor]:
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
