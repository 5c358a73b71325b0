"""How far an input can be moved at all: a radius beyond that was meant in other units. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

from advtransfer.precheck import Misfit, Outline
from advtransfer.types import Shape

Norm: TypeAlias = Literal["linf", "l2", "l1"]
UNIT = (0.0, 1.0)


def largest_radius(norm: Norm, *, shape: Shape | None, bounds: tuple[float, float] | None) -> float:
    """The distance of the two inputs of a shape that lie furthest apart; infinite where that is not known."""
    width = math.inf if bounds is None else bounds[1] - bounds[0]
    size = math.inf if shape is None else math.prod(shape)
    return width * {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}[norm]


def radius_misfits(
    path: tuple[str | int, ...],
    value: float | None,
    norm: Norm,
    data: Outline,
    *,
    bounds: tuple[float, float] | None = None,
    what: str = "eps",
) -> Iterator[Misfit]:
    """An option that is a radius or a step in a ball, where it is larger than any two inputs are apart.

    Args:
        path: Where the option is.
        value: The option; None where it has no value of its own.
        norm: The norm of the ball.
        data: What is known of the inputs.
        bounds: Of the inputs, where a component takes no others; by default what is known of the data.
        what: What the option is called.
    """
    largest = largest_radius(norm, shape=data.shape, bounds=bounds or data.bounds)
    if value is None or value <= largest:
        return
    on = "" if data.shape is None else f" on inputs of shape {data.shape}"
    levels = value / 255 <= largest
    next_step = f"divide it by 255 if it counts 8-bit levels: {value:g}/255" if levels else "lower it"
    yield Misfit(path, f"{what} of at most {largest:.6g} for {norm}{on}, in [0, 1] pixel space", next_step)


def expect_radius(eps: float, norm: Norm, *, shape: Shape, bounds: tuple[float, float] | None) -> None:
    """Refuse a ball with room for every input around any one.

    Args:
        eps: The radius, in the unit of the inputs.
        norm: Its norm.
        shape: Of one input.
        bounds: The box that inputs lie in; with None any radius will do.

    Raises:
        ValueError: `eps` is negative, or above the distance of the two inputs that lie furthest apart.
    """
    largest = largest_radius(norm, shape=shape, bounds=bounds)
    if not 0 <= eps <= largest:
        expected = f"0 to {largest:g} for {norm} on inputs of shape {shape} in {bounds}"
        raise ValueError(f"found eps {eps!r}; expected {expected}; divide it by 255 if it counts 8-bit levels")
