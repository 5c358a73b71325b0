"""The fixed adapters: what shape each gives, and the module that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from advtransfer.types import Shape
from advtransfer_adapters import shapes
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
        shapes.expect_source(self.name, self.gives, target, source)
        return self.build(target, source)


def identity() -> Fixed:
    """Inputs as they are, of any shape."""
    return Fixed("identity", shapes.identity, lambda *_: nn.Identity())


def resize(*, grid: Literal["centred", "corner"]) -> Fixed:
    """Images of the source's height and width."""
    return Fixed("resize", shapes.resize, lambda target, source: scaling(target[1:], source[1:], grid=grid))


def channel_mean() -> Fixed:
    """One channel."""
    return Fixed("channel_mean", shapes.channel_mean, lambda *_: ChannelMean())


def channel_repeat() -> Fixed:
    """The source's channels, of one."""
    return Fixed("channel_repeat", shapes.channel_repeat, lambda _, source: ChannelRepeat(source[0]))


def centre_crop() -> Fixed:
    """A window of the source's height and width."""
    return Fixed("centre_crop", shapes.centre_crop, lambda target, source: Crop(target[1:], source[1:]))


def pad(*, value: float) -> Fixed:
    """A field of the source's height and width, the image in its middle."""
    return Fixed("pad", shapes.pad, lambda target, source: Pad(target[1:], source[1:], value=value))


def random_pad(*, value: float) -> Fixed:
    """The same field, the image anywhere in it while in training mode."""
    return Fixed("random_pad", shapes.pad, lambda target, source: RandomPad(target[1:], source[1:], value=value))
