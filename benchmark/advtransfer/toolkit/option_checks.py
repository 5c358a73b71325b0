"""Checks of options against the data they meet, made before anything is trained.

Does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from advtransfer.precheck import Misfit, Outline
from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades
from advtransfer.toolkit.training_config import Augment
from advtransfer.types import DataCard, Shape

Norm: TypeAlias = Literal["linf", "l2", "l1"]
UNIT_BOUNDS = (0.0, 1.0)


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
    next_step = (
        f"divide it by 255 if it counts 8-bit levels: {value:g}/255" if levels else "lower it"
    )
    yield Misfit(
        path, f"{what} of at most {largest:.6g} for {norm}{on}, in [0, 1] pixel space", next_step
    )


def require_radius(
    eps: float, norm: Norm, *, shape: Shape, bounds: tuple[float, float] | None
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
    largest = largest_radius(norm, shape=shape, bounds=bounds)
    if not 0 <= eps <= largest:
        expected = f"0 to {largest:g} for {norm} on inputs of shape {shape} in {bounds}"
        raise ValueError(
            f"found eps {eps!r}; expected {expected}; divide it by 255 if it counts 8-bit levels"
        )


def adversary_misfits(
    adversary: Adversary | Trades | Fast | Free | None,
    data: Outline,
    *,
    path: tuple[str, ...] = ("adversary",),
) -> Iterator[Misfit]:
    """The radius or the step of an adversary, where it is larger than any two inputs are apart."""
    if adversary is None:
        return
    yield from radius_misfits((*path, "eps"), adversary.eps, adversary.norm, data)
    step = getattr(adversary, "step_size", None)
    yield from radius_misfits((*path, "step_size"), step, adversary.norm, data, what="a step")


def augment_misfits(augment: Augment, data: Outline) -> Iterator[Misfit]:
    """Changes to images of data that are none, or that stand there twice."""
    if augment == "none":
        return
    shape = data.shape
    if shape is not None and (len(shape) != 3 or shape[0] not in (1, 3)):
        found = f"{', '.join(augment)} of inputs of shape {shape}"
        yield Misfit(
            ("augment",), "images (C, H, W) of 1 or 3 channels", "leave `augment` out", found
        )
    yield from repeated_value_misfits("augment", augment)


def repeated_value_misfits(name: str, values: Sequence[object]) -> Iterator[Misfit]:
    """Values of a list that stood there before."""
    for position, value in enumerate(values):
        if value in values[:position]:
            yield Misfit((name, position), f"each value once in `{name}`", "remove it")


def snapshot_misfits(
    snapshots: Sequence[int], epochs: int, adversary: object = None
) -> Iterator[Misfit]:
    """Epochs to keep the weights of that the training does not have."""
    replays = adversary.replays if isinstance(adversary, Free) else 1
    last = -(-epochs // replays)
    for position, epoch in enumerate(snapshots):
        if epoch > last:
            yield Misfit(
                ("snapshots", position),
                f"an epoch from 1 to {last}, the last one",
                "lower it, or raise `epochs`",
            )
    yield from repeated_value_misfits("snapshots", snapshots)


def network_misfits(
    network: Outline, target: Outline, *, name: str = "network"
) -> Iterator[Misfit]:
    """A network that is trained on the target's images, and takes others."""
    own, wanted = network.shape, target.shape
    if None not in (own, wanted) and own != wanted:
        found, expected = f"a network for inputs {own}", f"one for {wanted}, which the target gives"
        yield Misfit((name,), expected, "make it for the target's own data entry", found)


def require_adversary_radius(
    adversary: Adversary | Trades | Fast | Free | None, card: DataCard
) -> None:
    """Hold an adversary's radius to the data, as `require_radius` does."""
    if adversary is not None:
        require_radius(adversary.eps, adversary.norm, shape=card.shape, bounds=card.bounds)
