"""Checks of options against the data they meet, made before anything is trained.

Does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from advtransfer.precheck import Misfit, Outline
from advtransfer.toolkit.adversary import Free, TrainingMethod
from advtransfer.toolkit.training_config import Augment, KeptEpoch
from advtransfer.types import DataCard, Shape

Norm: TypeAlias = Literal["linf", "l2", "l1"]
UNIT_BOUNDS = (0.0, 1.0)
NEEDS_VALIDATION = "needs a validation part to choose the epoch by"
"""The end of the reason why `checkpoint: best` cannot be used."""


def largest_radius(norm: Norm, *, shape: Shape | None, bounds: tuple[float, float] | None) -> float:
    """Return the largest distance between two inputs; infinite if it is not known.

    Args:
        norm: The norm of the distance.
        shape: The shape of one input; None if it is not known.
        bounds: The smallest and the largest value of an input; None if there are none.
    """
    width = math.inf if bounds is None else bounds[1] - bounds[0]
    size = math.inf if shape is None else math.prod(shape)
    # The norm of the vector of ones, which joins two opposite corners of the unit box.
    diagonal = {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}
    return width * diagonal[norm]


def radius_misfits(
    path: tuple[str | int, ...],
    value: float | None,
    norm: Norm,
    data: Outline,
    *,
    bounds: tuple[float, float] | None = None,
    what: str = "eps",
) -> Iterator[Misfit]:
    """Yield a misfit if a radius or a step exceeds the largest distance between two inputs.

    Args:
        path: The path of the option.
        value: The value of the option; None if it is not set.
        norm: The norm of the ball.
        data: The outline of the data.
        bounds: The bounds of the inputs, if the component accepts no others; by default those of
            `data`.
        what: The name of the option in the message.
    """
    largest = largest_radius(norm, shape=data.shape, bounds=bounds or data.bounds)
    if value is None or value <= largest:
        return
    on = "" if data.shape is None else f" on inputs of shape {data.shape}"
    expected = f"{what} of at most {largest:.6g} for {norm}{on}, in [0, 1] pixel space"
    next_step = "lower it"
    # A value that fits after division by 255 was probably given in 8-bit levels.
    may_count_levels = value / 255 <= largest
    if may_count_levels:
        next_step = f"divide it by 255 if it counts 8-bit levels: {value:g}/255"
    yield Misfit(path, expected, next_step)


def require_radius(
    eps: float, norm: Norm, *, shape: Shape, bounds: tuple[float, float] | None
) -> None:
    """Check that a ball around an input does not contain every other input.

    Args:
        eps: The radius, in the unit of the inputs.
        norm: The norm of the ball.
        shape: The shape of one input.
        bounds: The smallest and the largest value of an input; None allows every radius from 0.

    Raises:
        ValueError: `eps` is negative, or above the largest distance between two inputs.
    """
    largest = largest_radius(norm, shape=shape, bounds=bounds)
    if not 0 <= eps <= largest:
        expected = f"0 to {largest:g} for {norm} on inputs of shape {shape} in {bounds}"
        raise ValueError(
            f"found eps {eps!r}; expected {expected}; divide it by 255 if it counts 8-bit levels"
        )


def adversary_misfits(
    adversary: TrainingMethod | None,
    data: Outline,
    *,
    path: tuple[str, ...] = ("adversary",),
) -> Iterator[Misfit]:
    """Yield misfits of an adversary's radius and step, see `radius_misfits`.

    Args:
        adversary: The adversary; None has no misfits.
        data: The outline of the training data.
        path: The path of the adversary among the options.
    """
    if adversary is None:
        return
    yield from radius_misfits((*path, "eps"), adversary.eps, adversary.norm, data)
    step = getattr(adversary, "step_size", None)
    yield from radius_misfits((*path, "step_size"), step, adversary.norm, data, what="a step")


def augment_misfits(augment: Augment, data: Outline) -> Iterator[Misfit]:
    """Yield misfits of augmentations: inputs that are not images, or a name given twice."""
    if augment == "none":
        return
    shape = data.shape
    if shape is not None and (len(shape) != 3 or shape[0] not in (1, 3)):
        found = f"{', '.join(augment)} of inputs of shape {shape}"
        yield Misfit(
            ("augment",), "images (C, H, W) of 1 or 3 channels", "leave `augment` out", found
        )
    yield from repeated_value_misfits("augment", augment)


def recipe_misfits(
    kept_epoch: KeptEpoch,
    cutmix: float | None,
    data: Outline,
    *,
    validation: float | None,
) -> Iterator[Misfit]:
    """Yield misfits of a training's kept epoch and of CutMix.

    Args:
        kept_epoch: The option `checkpoint`.
        cutmix: The option `cutmix`.
        data: The outline of the training data.
        validation: The share held back for validation; None where it is not known.
    """
    if kept_epoch == "best" and validation == 0:
        found = f"`checkpoint: best`, which {NEEDS_VALIDATION}"
        next_step = "give `validation` a share, or take the last epoch, as beside `choose`"
        yield Misfit(("checkpoint",), "`last` without a validation part", next_step, found)
    is_image = data.shape is None or len(data.shape) == 3
    if cutmix is not None and not (is_image and data.task in (None, "classes")):
        yield Misfit(("cutmix",), "none, since it mixes images of classes", "leave it out")


def repeated_value_misfits(name: str, values: Sequence[object]) -> Iterator[Misfit]:
    """Yield a misfit for each value of an option that occurs earlier in its list."""
    for position, value in enumerate(values):
        if value in values[:position]:
            yield Misfit((name, position), f"each value once in `{name}`", "remove it")


def snapshot_misfits(
    snapshots: Sequence[int], epochs: int, adversary: object = None
) -> Iterator[Misfit]:
    """Yield misfits of snapshots: epochs after the last one, or an epoch given twice.

    Args:
        snapshots: The epochs whose weights are kept.
        epochs: The number of epochs of the training.
        adversary: The adversary; `Free` replays each batch and passes over the data less often.
    """
    replays = adversary.replays if isinstance(adversary, Free) else 1
    last = math.ceil(epochs / replays)
    expected = f"an epoch from 1 to {last}, the last one"
    for position, epoch in enumerate(snapshots):
        if epoch > last:
            yield Misfit(("snapshots", position), expected, "lower it, or raise `epochs`")
    yield from repeated_value_misfits("snapshots", snapshots)


def network_misfits(
    network: Outline, target: Outline, *, name: str = "network"
) -> Iterator[Misfit]:
    """Yield a misfit if a network that is trained on the target takes inputs of another shape."""
    if network.shape is None or target.shape is None:
        return
    if network.shape != target.shape:
        found = f"a network for inputs {network.shape}"
        expected = f"one for {target.shape}, which the target gives"
        yield Misfit((name,), expected, "make it for the target's own data entry", found)


def require_adversary_radius(adversary: TrainingMethod | None, card: DataCard) -> None:
    """Check an adversary's radius against a data card by `require_radius`; None passes.

    Raises:
        ValueError: The radius is above the largest distance between two inputs.
    """
    if adversary is not None:
        require_radius(adversary.eps, adversary.norm, shape=card.shape, bounds=card.bounds)
