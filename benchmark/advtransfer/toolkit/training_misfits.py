"""Options of trainings that cannot work on the data they meet, known before anything is trained. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advtransfer.precheck import Misfit, Outline
from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades
from advtransfer.toolkit.radius import radius_misfits
from advtransfer.toolkit.recipe import Augment


def adversary_misfits(
    adversary: Adversary | Trades | Fast | Free | None, data: Outline, *, path: tuple[str, ...] = ("adversary",)
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
        yield Misfit(("augment",), "images (C, H, W) of 1 or 3 channels", "leave `augment` out", found)
    yield from repeated("augment", augment)


def repeated(name: str, values: Sequence[object]) -> Iterator[Misfit]:
    """Values of a list that stood there before."""
    for position, value in enumerate(values):
        if value in values[:position]:
            yield Misfit((name, position), f"each value once in `{name}`", "remove it")


def snapshot_misfits(snapshots: Sequence[int], epochs: int, adversary: object = None) -> Iterator[Misfit]:
    """Epochs to keep the weights of that the training does not have."""
    replays = adversary.replays if isinstance(adversary, Free) else 1
    last = -(-epochs // replays)
    for position, epoch in enumerate(snapshots):
        if epoch > last:
            yield Misfit(
                ("snapshots", position), f"an epoch from 1 to {last}, the last one", "lower it, or raise `epochs`"
            )
    yield from repeated("snapshots", snapshots)


def network_misfits(network: Outline, target: Outline, *, name: str = "network") -> Iterator[Misfit]:
    """A network that is trained on the target's images, and takes others."""
    own, wanted = network.shape, target.shape
    if None not in (own, wanted) and own != wanted:
        found, expected = f"a network for inputs {own}", f"one for {wanted}, which the target gives"
        yield Misfit((name,), expected, "make it for the target's own data entry", found)
