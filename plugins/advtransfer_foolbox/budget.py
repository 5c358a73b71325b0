"""What an attack may do: a ball around each image, inside the box [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from advtransfer.types import Shape

Norm: TypeAlias = Literal["linf", "l2"]

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
            ValueError: An l_inf radius above 1, an l_2 radius above ``sqrt(C * H * W)``, or a negative one.
        """
        largest = 1.0 if self.norm == "linf" else math.sqrt(math.prod(shape))
        for eps in self.eps:
            if not 0 <= eps <= largest:
                expected = f"0 to {largest:g} for {self.norm} on images of shape {shape} in [0, 1]"
                raise ValueError(f"found eps {eps!r}; expected {expected}; divide it by 255 if it counts 8-bit levels")


def within(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """Which points ``(B, C, H, W)`` lie in their image's ball and in the box, ``(B,)`` bool; NaN never does."""
    moved = (points.double() - images.double()).flatten(1)
    length: Tensor = moved.norm(p=math.inf if norm == "linf" else 2, dim=1)
    boxed: Tensor = ((points >= 0) & (points <= 1)).flatten(1).all(1)
    inside: Tensor = length <= eps + SLACK * max(1.0, eps)
    return boxed & inside
