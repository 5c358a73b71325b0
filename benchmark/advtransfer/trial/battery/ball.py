"""Moving inside a ball and the box: the geometry that all of the battery's attacks share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.attack import boxed, project
from advtransfer.toolkit.streams import generator
from advtransfer.trial.battery.design import Norm, Threat
from advtransfer.types import Shape

SPARSE = 0.05
"""The share of the pixels that l_1 noise moves, as the steps of Tramer and Boneh (2019) do."""

HALVINGS = 60
"""Of the interval in which the l_1 projection's threshold is looked for: below what float32 resolves."""


@dataclass(frozen=True, slots=True)
class Ball:
    """The points within a threat's radius of an image, and inside the box."""

    threat: Threat
    bounds: tuple[float, float] | None

    def move(self, points: Tensor, gradient: Tensor, *, step: float, inputs: Tensor) -> Tensor:
        """A step of this length along the gradient, brought back around `inputs`; all ``(B, ...)``.

        In l_1 the step goes towards the best point of the ball for this gradient (Frank and Wolfe, 1956): steps and
        projections would leave the radius spread over more pixels than pay.
        """
        norm, eps = self.threat.norm, self.threat.eps
        if norm == "l1":
            return points + min(1.0, step / eps) * (inputs + self._farthest(gradient, inputs) - points)
        return self.back(points + step * direction(gradient, norm), inputs)

    def back(self, points: Tensor, inputs: Tensor) -> Tensor:
        """The points, brought back into the balls around `inputs`, then into the box."""
        norm, eps = self.threat.norm, self.threat.eps
        delta = points - inputs
        return boxed(inputs + (_into_l1(delta, eps) if norm == "l1" else project(delta, norm, eps)), self.bounds)

    def _farthest(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """The best way up in the l_1 ball and the box: the steepest pixels go to the edge, until eps is spent."""
        low, high = self.bounds or (-torch.inf, torch.inf)
        # on the CPU: torch has no cumulative sum on CUDA that gives the same bits again
        slopes, pixels = gradient.flatten(1).cpu(), inputs.flatten(1).cpu()
        room = torch.where(slopes > 0, high - pixels, pixels - low).clamp(max=self.threat.eps) * slopes.sign().abs()
        order = slopes.abs().argsort(dim=1, descending=True, stable=True)
        rooms = room.gather(1, order)
        spent = (self.threat.eps - (rooms.cumsum(1) - rooms)).clamp_min(0).minimum(rooms)
        return (slopes.sign() * torch.zeros_like(room).scatter(1, order, spent)).view_as(inputs).to(inputs)

    def surface(self, keys: Iterable[int], shape: Shape, *, what: str, draws: int) -> Tensor:
        """Steps of the whole radius along random gradients, by sample key, ``(B, draws, *shape)``."""
        drawn = torch.stack([torch.randn(draws, *shape, generator=generator("battery", what, key)) for key in keys])
        points = direction(drawn.flatten(0, 1), self.threat.norm).view_as(drawn)
        return self.threat.eps * points


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 that ascends fastest, ``(B, ...)``; none where the gradient is zero.

    In l_1 it is shared by the steepest pixels, so that the box does not hold all of it back.
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l1":
        flat = gradient.flatten(1)
        count = max(1, round(SPARSE * flat.shape[1]))
        least = flat.abs().topk(count, dim=1).values[:, -1:]
        return (flat.sign() * (flat.abs() >= least) / count).view_as(gradient)
    # by its largest entry first: squares of small numbers are zero
    scaled = gradient / gradient.flatten(1).abs().amax(1).clamp_min(math.ulp(0.0)).view(-1, *[1] * (gradient.ndim - 1))
    scaled = scaled.nan_to_num(0.0, 0.0, 0.0)
    lengths: Tensor = torch.linalg.vector_norm(scaled, dim=tuple(range(1, scaled.ndim)), keepdim=True)
    return scaled / lengths.clamp_min(1.0)


def _into_l1(delta: Tensor, eps: float) -> Tensor:
    """The point of the l_1 ball nearest to each ``delta``: every entry shrunk by one threshold, found by bisection."""
    size = delta.flatten(1).abs()
    low, high = torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True)
    outside = size.sum(1, keepdim=True) > eps
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        far = (size - middle).clamp_min(0).sum(1, keepdim=True) > eps
        low, high = torch.where(far, middle, low), torch.where(far, high, middle)
    shrunk = (size - torch.where(outside, high, 0.0)).clamp_min(0)
    return delta.sign() * shrunk.view_as(delta)
