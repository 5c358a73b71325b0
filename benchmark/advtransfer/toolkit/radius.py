"""How far an input can be moved at all: a radius beyond that was meant in other units. Light: no torch."""

from __future__ import annotations

import math
from typing import Literal

from advtransfer.types import Shape


def expect_radius(
    eps: float, norm: Literal["linf", "l2", "l1"], *, shape: Shape, bounds: tuple[float, float] | None
) -> None:
    """Refuse a ball with room for every input around any one.

    Args:
        eps: The radius, in the unit of the inputs.
        norm: Its norm.
        shape: Of one input.
        bounds: The box that inputs lie in; with None any radius will do.

    Raises:
        ValueError: `eps` is negative, or above the distance of the two inputs that lie furthest apart.
    """
    width = math.inf if bounds is None else bounds[1] - bounds[0]
    size = math.prod(shape)
    largest = width * {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}[norm]
    if not 0 <= eps <= largest:
        expected = f"0 to {largest:g} for {norm} on inputs of shape {shape} in {bounds}"
        raise ValueError(f"found eps {eps!r}; expected {expected}; divide it by 255 if it counts 8-bit levels")
