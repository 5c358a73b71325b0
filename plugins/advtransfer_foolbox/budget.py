"""What an attack may do: a ball around each image, inside the box [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.radius import expect_radius
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
        for eps in self.eps:
            expect_radius(eps, self.norm, shape=shape, bounds=(0.0, 1.0))


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
