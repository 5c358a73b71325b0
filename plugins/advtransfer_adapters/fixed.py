"""The fixed adapters: what shape each gives, and the module that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.types import Shape
from advtransfer_adapters.channels import ChannelMean, ChannelRepeat
from advtransfer_adapters.placing import Crop, Pad, RandomPad
from advtransfer_adapters.scaling import scaling


@dataclass(frozen=True, slots=True)
class Fixed:
    """An adapter without anything to learn.

    Args:
        name: What it is called in errors.
        gives: From the shape of what comes in and the source's to the shape of what goes out, which need not be the
            source's: in a chain others follow. Raises Inapplicable where it cannot work.
        build: From both shapes to the module.
    """

    name: str
    gives: Callable[[Shape, Shape], Shape]
    build: Callable[[Shape, Shape], nn.Module]

    @property
    def learned(self) -> bool:
        """It is not."""
        return False

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """What it makes of inputs of the shape `target`, on their way to the shape `source`."""
        return self.gives(target, source)

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """The map ``(B, *target) -> (B, *source)``.

        Raises:
            Inapplicable: It does not lead from the one shape to the other.
        """
        given = self.gives(target, source)
        if given != source:
            advice = "chain it with another adapter, or use adapters/auto"
            raise Inapplicable(f"{self.name} makes {given} of inputs {target}, but the source takes {source}; {advice}")
        return self.build(target, source)


def identity() -> Fixed:
    """Inputs as they are, of any shape."""
    return Fixed("identity", lambda target, _: target, lambda *_: nn.Identity())


def resize(*, grid: Literal["centred", "corner"]) -> Fixed:
    """Images of the source's height and width."""

    def gives(target: Shape, source: Shape) -> Shape:
        _expect_images("resize", target, source)
        return (target[0], *source[1:])

    return Fixed("resize", gives, lambda target, source: scaling(target[1:], source[1:], grid=grid))


def channel_mean() -> Fixed:
    """One channel."""

    def gives(target: Shape, source: Shape) -> Shape:
        _expect_images("channel_mean", target, source)
        return (1, *target[1:])

    return Fixed("channel_mean", gives, lambda *_: ChannelMean())


def channel_repeat() -> Fixed:
    """The source's channels, of one."""

    def gives(target: Shape, source: Shape) -> Shape:
        _expect_images("channel_repeat", target, source)
        _expect(target[0] == 1, target, source, "channel_repeat takes one channel; use adapters/channel_mean before it")
        return (source[0], *target[1:])

    return Fixed("channel_repeat", gives, lambda _, source: ChannelRepeat(source[0]))


def centre_crop() -> Fixed:
    """A window of the source's height and width."""

    def gives(target: Shape, source: Shape) -> Shape:
        _expect_images("centre_crop", target, source)
        fits = target[1] >= source[1] and target[2] >= source[2]
        _expect(fits, target, source, "centre_crop only takes pixels away; use adapters/pad or adapters/resize")
        return (target[0], *source[1:])

    return Fixed("centre_crop", gives, lambda target, source: Crop(target[1:], source[1:]))


def pad(*, value: float) -> Fixed:
    """A field of the source's height and width, the image in its middle."""
    return Fixed("pad", _padded, lambda target, source: Pad(target[1:], source[1:], value=value))


def random_pad(*, value: float) -> Fixed:
    """The same field, the image anywhere in it while in training mode."""
    return Fixed("random_pad", _padded, lambda target, source: RandomPad(target[1:], source[1:], value=value))


def _padded(target: Shape, source: Shape) -> Shape:
    _expect_images("a pad", target, source)
    fits = target[1] <= source[1] and target[2] <= source[2]
    _expect(fits, target, source, "a pad only adds pixels; use adapters/centre_crop or adapters/resize")
    return (target[0], *source[1:])


def _expect_images(name: str, target: Shape, source: Shape) -> None:
    _expect(len(target) == len(source) == 3, target, source, f"{name} works on images (C, H, W); leave the adapter out")


def _expect(holds: bool, target: Shape, source: Shape, reason: str) -> None:
    if not holds:
        raise Inapplicable(f"found inputs {target} on their way to a source that takes {source}; {reason}")
