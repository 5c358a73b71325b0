"""What an attack may do: a ball around each image, inside the box [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.types import Shape
from advtransfer_foolbox.settings import Norm

SLACK = 1e-6
"""How far outside its ball float32 rounding may leave a point, in pixels (for radii above 1, relative to them)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A norm, and the radii to measure in [0, 1] pixel space."""

    norm: Norm
    eps: tuple[float, ...]

    def __post_init__(self) -> None:
        names = [f"{eps:g}" for eps in self.eps]
        if len(set(names)) < len(names):
            raise ValueError(f"found eps {list(self.eps)}; expected radii that differ in six digits; drop the repeated")

    @classmethod
    def of(cls, norm: Norm, eps: float | tuple[float, ...]) -> Budget:
        """A budget of one radius, or of several."""
        return cls(norm, eps if isinstance(eps, tuple) else (eps,))

    def check(self, shape: Shape) -> None:
        """Refuse a radius that reaches beyond the box for images of this shape: units were mistaken, most likely.

        Raises:
            ValueError: A radius above 1 (l_inf), ``sqrt(C * H * W)`` (l_2) or ``C * H * W`` (l_1), or a negative one.
        """
        pixels = math.prod(shape)
        largest = {"linf": 1.0, "l2": math.sqrt(pixels), "l1": float(pixels)}[self.norm]
        for eps in self.eps:
            if not 0 <= eps <= largest:
                expected = f"0 to {largest:g} for {self.norm} on images of shape {shape} in [0, 1]"
                raise ValueError(f"found eps {eps!r}; expected {expected}; divide it by 255 if it counts 8-bit levels")


def distances(points: Tensor, images: Tensor, *, norm: Norm) -> Tensor:
    """How far points ``(B, C, H, W)`` lie from their images, ``(B,)`` float64."""
    order = {"linf": math.inf, "l2": 2.0, "l1": 1.0}[norm]
    moved = (points.double() - images.double()).flatten(1)
    lengths: Tensor = torch.linalg.vector_norm(moved, ord=order, dim=1)
    return lengths


def reach(eps: float) -> float:
    """How far a point may lie from its image and still count as within eps."""
    return eps + SLACK * max(1.0, eps)


def boxed(points: Tensor) -> Tensor:
    """Which points ``(B, C, H, W)`` lie in the box, ``(B,)`` bool; NaN never does."""
    return ((points >= 0) & (points <= 1)).flatten(1).all(1)


def within(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """Which points ``(B, C, H, W)`` lie in their image's ball and in the box, ``(B,)`` bool; NaN never does."""
    return boxed(points) & (distances(points, images, norm=norm) <= reach(eps))
