"""Norm balls of the battery: projections, steps of steepest ascent and random points.

The projections onto the l_2 and l_inf ball are shared with `toolkit.pgd`: pure geometry, tested by
its properties.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.pgd import clip_to_bounds, project_to_ball
from advtransfer.toolkit.rng import Words, keyed_uniform, stream_seed
from advtransfer.types import Shape
from advtransfer.worker.verification.config import Norm, ThreatModel

STEP_LENGTHS: Mapping[Norm, tuple[float, float]] = {
    "linf": (1.0, 0.03),
    "l2": (1.0, 0.03),
    "l1": (1.0, 0.03),
}
"""Lengths of the first and the last step of an ascent, in radii.

They fall geometrically: the first steps cross the ball, the last ones settle.
"""

L1_STEP_SHARE = 0.1
"""Share of the pixels that a step in l_1 moves, the steepest; `sparse_ascent` adapts it instead."""

NEARBY_SCALES = (0.5, 0.25, 0.125)
"""Lengths of random points nearby, in radii, in turn: how far a model's ripples reach is not known."""

L1_NOISE_SHARE = 0.05
"""Share of the pixels that a random l_1 offset moves."""

L1_ROUNDING = 1e-5
"""Share of an l_1 radius that is left for the rounding of points, whose errors add up over pixels."""

BISECTION_STEPS = 40
"""Bisections of the l_1 projection's threshold; the interval left is below float32 resolution."""


@dataclass(frozen=True, slots=True)
class Ball:
    """Points within the radius of a threat model around an image, and inside the box."""

    threat: ThreatModel
    bounds: tuple[float, float] | None

    def take_step(
        self,
        points: Tensor,
        gradient: Tensor,
        *,
        progress: float,
        inputs: Tensor,
        scale: float = 1.0,
    ) -> Tensor:
        """Return the points after one ascent step, inside the balls around `inputs`.

        Args:
            points: ``(B, ...)``.
            gradient: ``(B, ...)``, of the loss at the points.
            progress: How far the ascent is, from 0 at its first step to 1 at its last.
            inputs: ``(B, ...)``, the centres of the balls.
            scale: Factor of the lengths of `STEP_LENGTHS`.
        """
        norm, eps = self.threat.norm, self.threat.eps
        first, last = STEP_LENGTHS[norm]
        length = scale * eps * first * (last / first) ** progress
        return self.project_back(points + length * self._step_direction(gradient), inputs)

    def _step_direction(self, gradient: Tensor) -> Tensor:
        """Return the step of length 1 of steepest ascent; in l_1 few pixels share it."""
        if self.threat.norm == "l1":
            return sparse_direction(gradient, L1_STEP_SHARE)
        return steepest_direction(gradient, self.threat.norm)

    def steepest_point(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Return the points of the balls in which a linear loss of this gradient is largest.

        In l_2 the box cuts the step, so that the best point may be another.
        """
        norm, eps = self.threat.norm, self.threat.eps
        if norm == "l1":
            return inputs + self._l1_vertex(gradient, inputs)
        return self.project_back(inputs + eps * steepest_direction(gradient, norm), inputs)

    def project_back(self, points: Tensor, inputs: Tensor) -> Tensor:
        """Return the points projected onto the balls around `inputs` and into the box.

        In l_1 they are the nearest points of both; else the box comes last and leaves the ball
        intact, since it moves each pixel towards the input's.
        """
        norm, eps = self.threat.norm, self.threat.eps
        delta = points - inputs
        if norm == "l1":
            low, high = self.bounds or (-torch.inf, torch.inf)
            delta = _project_l1(
                delta, eps * (1 - L1_ROUNDING), low=low - inputs, high=high - inputs
            )
        else:
            delta = project_to_ball(delta, norm, eps)
        return clip_to_bounds(inputs + delta, self.bounds)

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

    def surface_points(
        self, keys: Sequence[int] | Words, shape: Shape, *, what: str, draws: int
    ) -> Tensor:
        """Return random offsets of length eps, ``(B, draws, *shape)``.

        Args:
            keys: Sample keys. Each sample has its own random stream, so its points depend neither
                on the batch nor on the other samples.
            shape: Shape of one input.
            what: Name of the random stream.
            draws: Points for each sample.
        """
        drawn = _normal_numbers(what, keys, (draws, *shape))
        points = self._unit_offsets(drawn.flatten(0, 1)).view_as(drawn)
        return self.threat.eps * points

    def random_start(self, inputs: Tensor, keys: Sequence[int] | Words, *, what: str) -> Tensor:
        """Return a random point of each ball at half the radius, ``(B, ...)``.

        Args:
            inputs: ``(B, ...)``, the centres of the balls.
            keys: Sample keys, as for `surface_points`.
            what: Name of the random stream.
        """
        normal = _normal_numbers(what, keys, tuple(inputs.shape[1:]))
        offset = self.threat.eps / 2 * self._unit_offsets(normal).to(inputs)
        return self.project_back(inputs + offset, inputs)

    def nearby_offsets(
        self, inputs: Tensor, keys: Sequence[int] | Words, *, what: str, draws: int
    ) -> Tensor:
        """Return random offsets of a part of the radius, ``(B, draws, ...)``; see `NEARBY_SCALES`.

        They move every pixel, also in l_1, so that no pixel's gradient stays as it is.

        Args:
            inputs: ``(B, ...)``, the centres of the balls.
            keys: Sample keys, as for `surface_points`.
            what: Name of the random stream.
            draws: Offsets for each sample.
        """
        shape = (draws, *inputs.shape[1:])
        drawn = keyed_uniform(stream_seed("battery", what), keys, shape).to(inputs)
        offsets = 2 * drawn - 1
        if self.threat.norm != "linf":
            order = {"l2": 2, "l1": 1}[self.threat.norm]
            axes = tuple(range(2, offsets.ndim))
            offsets = offsets / torch.linalg.vector_norm(offsets, order, dim=axes, keepdim=True)
        turns = torch.arange(draws) % len(NEARBY_SCALES)
        scales = torch.tensor(NEARBY_SCALES)[turns].to(inputs)
        return self.threat.eps * scales.view(-1, *[1] * (offsets.ndim - 2)) * offsets

    def _unit_offsets(self, normal: Tensor) -> Tensor:
        """Return offsets of length 1 from normal numbers ``(B, ...)``; in l_1 few pixels share it."""
        if self.threat.norm == "l1":
            return sparse_direction(normal, L1_NOISE_SHARE)
        return steepest_direction(normal, self.threat.norm)


def _normal_numbers(what: str, keys: Sequence[int] | Words, shape: Shape) -> Tensor:
    """Return normal numbers ``(len(keys), *shape)``, each sample's from a stream of its own."""
    drawn = keyed_uniform(stream_seed("battery", what), keys, (2, *shape))
    # Two uniform numbers give one normal (Box and Muller, 1958); 1 - u is never 0.
    radius = (-2 * torch.log1p(-drawn[:, 0])).sqrt()
    return radius * torch.cos(2 * math.pi * drawn[:, 1])


def sparse_direction(gradient: Tensor, share: float) -> Tensor:
    """Return the step of l_1 length 1 along a share of the pixels, the steepest, ``(B, ...)``."""
    slopes = gradient.flatten(1)
    count = max(1, round(share * slopes.shape[1]))
    threshold = slopes.abs().topk(count, dim=1).values[:, -1:]
    return (slopes.sign() * (slopes.abs() >= threshold) / count).view_as(gradient)


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


def _project_l1(delta: Tensor, eps: float, *, low: Tensor, high: Tensor) -> Tensor:
    """Return the nearest point to each `delta` in the l_1 ball and between `low` and `high`.

    Every entry shrinks by one threshold and is then clipped (Croce and Hein, 2021, "Mind the box",
    proposition 2.1); the threshold is found by bisection. `low` is at most 0 and `high` at least.
    """
    size = delta.flatten(1).abs()
    room = torch.where(delta > 0, high, -low).flatten(1)
    smallest = torch.zeros_like(size[:, :1])
    largest = size.amax(1, keepdim=True)
    outside = size.minimum(room).sum(1, keepdim=True) > eps
    for _ in range(BISECTION_STEPS):
        middle = (smallest + largest) / 2
        shrunk = (size - middle).clamp_min(0).minimum(room)
        too_small = shrunk.sum(1, keepdim=True) > eps
        smallest = torch.where(too_small, middle, smallest)
        largest = torch.where(too_small, largest, middle)
    # The upper end of the interval, so that rounding leaves the point inside the ball.
    threshold = torch.where(outside, largest, 0.0)
    shrunk = (size - threshold).clamp_min(0).minimum(room)
    return delta.sign() * shrunk.view_as(delta)
