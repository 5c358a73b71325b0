"""Norm balls of the battery: projections, steps of steepest ascent and random points.

The projections onto the l_2 and l_inf ball are shared with `toolkit.pgd`: pure geometry, tested by
its properties.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.pgd import clip_to_bounds, project_to_ball
from advtransfer.toolkit.rng import keyed_uniform, stream_generator, stream_seed
from advtransfer.types import Shape
from advtransfer.worker.verification.config import Norm, ThreatModel

L1_PIXEL_SHARE = 0.05
"""Share of the pixels that a random l_1 offset moves."""

L1_ROUNDING = 1e-5
"""Share of an l_1 radius that is left for the rounding of points, whose errors add up over pixels."""

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
        projected = (
            _project_l1(delta, eps * (1 - L1_ROUNDING))
            if norm == "l1"
            else project_to_ball(delta, norm, eps)
        )
        # The box comes last and leaves the ball intact: it moves each pixel towards the input's.
        return clip_to_bounds(inputs + projected, self.bounds)

    def _l1_vertex(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Return the offset in the l_1 ball and the box that maximises its product with `gradient`.

        The pixels of steepest gradient go to the edge of the box, in order, until eps is spent.
        """
        eps = self.threat.eps * (1 - L1_ROUNDING)
        low, high = self.bounds or (-torch.inf, torch.inf)
        # On the CPU: torch has no deterministic cumulative sum on CUDA.
        slopes = gradient.flatten(1).cpu()
        pixels = inputs.flatten(1).cpu()
        room_to_edge = torch.where(slopes > 0, high - pixels, pixels - low)
        # Pixels with zero gradient get no room: moving them would spend eps for nothing.
        room = room_to_edge.clamp(max=eps) * slopes.sign().abs()
        # Stable, so that pixels of equal slope are always taken in the same order.
        order = slopes.abs().argsort(dim=1, descending=True, stable=True)
        sorted_room = room.gather(1, order)
        spent_before = sorted_room.cumsum(1) - sorted_room
        spent = (eps - spent_before).clamp_min(0).minimum(sorted_room)
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
        # A generator a sample: for many draws of each its words cost less than keyed ones.
        drawn = torch.stack(
            [
                torch.randn(draws, *shape, generator=stream_generator("battery", what, key))
                for key in keys
            ]
        )
        points = self._unit_offsets(drawn.flatten(0, 1)).view_as(drawn)
        return self.threat.eps * points

    def random_start(self, inputs: Tensor, keys: Sequence[int], *, what: str) -> Tensor:
        """Return a random point of each ball at half the radius, ``(B, ...)``.

        Args:
            inputs: ``(B, ...)``, the centres of the balls.
            keys: Sample keys, as for `surface_points`.
            what: Name of the random stream.
        """
        shape = tuple(inputs.shape[1:])
        drawn = keyed_uniform(stream_seed("battery", what), keys, (2, *shape))
        # Two uniform numbers give one normal (Box and Muller, 1958); 1 - u is never 0.
        radius = (-2 * torch.log1p(-drawn[:, 0])).sqrt()
        normal = radius * torch.cos(2 * math.pi * drawn[:, 1])
        offset = self.threat.eps / 2 * self._unit_offsets(normal).to(inputs)
        return self.project_back(inputs + offset, inputs)

    def _unit_offsets(self, normal: Tensor) -> Tensor:
        """Return offsets of length 1 from normal numbers ``(B, ...)``; in l_1 few pixels share it."""
        if self.threat.norm != "l1":
            return steepest_direction(normal, self.threat.norm)
        flat = normal.flatten(1)
        count = max(1, round(L1_PIXEL_SHARE * flat.shape[1]))
        threshold = flat.abs().topk(count, dim=1).values[:, -1:]
        return (flat.sign() * (flat.abs() >= threshold) / count).view_as(normal)


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the step of length 1 of steepest ascent in l_inf or l_2; 0 where the gradient is 0."""
    if norm == "linf":
        return gradient.sign()
    # Divide by the largest entry before taking the norm: squares of small numbers underflow to 0.
    largest = gradient.flatten(1).abs().amax(1).clamp_min(math.ulp(0.0))
    scaled = gradient / largest.view(-1, *[1] * (gradient.ndim - 1))
    scaled = scaled.nan_to_num(0.0, 0.0, 0.0)
    lengths: Tensor = torch.linalg.vector_norm(
        scaled, dim=tuple(range(1, scaled.ndim)), keepdim=True
    )
    return scaled / lengths.clamp_min(1.0)


def dual_norm(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the dual norm of each gradient, ``(B,)``: its steepest slope in the norm."""
    order = {"linf": 1, "l2": 2, "l1": math.inf}[norm]
    lengths: Tensor = torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1)
    return lengths


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
