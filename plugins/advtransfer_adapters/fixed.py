"""Fixed adapters, and the torch modules that change channels, crop, pad and resize for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.types import Shape
from advtransfer_adapters import shapes


class ChannelMean(nn.Module):
    """The mean over the channels, ``(B, C, H, W)`` to ``(B, 1, H, W)``: each channel gets 1 / C of the gradient."""

    def forward(self, images: Tensor) -> Tensor:
        """One channel."""
        return images.mean(1, keepdim=True)


class ChannelRepeat(nn.Module):
    """One channel as several equal ones, ``(B, 1, H, W)`` to ``(B, channels, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """The channel, repeated."""
        return images.repeat(1, self.channels, 1, 1)


Window: TypeAlias = tuple[slice, slice]
"""Rows and columns of an image."""


class CenterCrop(nn.Module):
    """The window in the middle, ``(B, C, *target)`` to ``(B, C, *source)``.

    Attributes:
        window: The rows and columns of the target's images that the source sees; the others get no gradient.
    """

    window: Window

    def __init__(self, target: Shape, source: Shape) -> None:
        super().__init__()
        top, left = ((outer - inner) // 2 for outer, inner in zip(target, source, strict=True))
        self.window = (slice(top, top + source[0]), slice(left, left + source[1]))

    def forward(self, images: Tensor) -> Tensor:
        """The pixels in the window."""
        rows, columns = self.window
        return images[..., rows, columns]


class CenterPad(nn.Module):
    """The image in the middle of a field of one value, ``(B, C, *target)`` to ``(B, C, *source)``."""

    def __init__(self, target: Shape, source: Shape, *, value: float) -> None:
        super().__init__()
        self.margins = tuple(outer - inner for outer, inner in zip(source, target, strict=True))
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        """The image and its margins."""
        height, width = self.margins
        top, left = height // 2, width // 2
        return functional.pad(images, (left, width - left, top, height - top), value=self.value)


class RandomPad(nn.Module):
    """As `CenterPad` in eval mode; in training mode each image lies at a place drawn from torch's global random state."""

    def __init__(self, target: Shape, source: Shape, *, value: float) -> None:
        super().__init__()
        self.centred, self.field = CenterPad(target, source, value=value), source

    def forward(self, images: Tensor) -> Tensor:
        """The image and its margins."""
        if not self.training:
            centred: Tensor = self.centred(images)
            return centred
        (height, width), (tall, wide) = self.centred.margins, self.field
        # drawn on the CPU, so that every device places alike
        above, before = (
            torch.randint(margin + 1, (len(images), 1)).to(images.device)
            for margin in (height, width)
        )
        rows = (height - above + torch.arange(tall, device=images.device)).view(-1, 1, tall, 1)
        columns = (width - before + torch.arange(wide, device=images.device)).view(-1, 1, 1, wide)
        batch = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
        channels = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
        # room for every place on all four sides, out of which each image's own field is cut
        roomy = functional.pad(images, (width, width, height, height), value=self.centred.value)
        return roomy[batch, channels, rows, columns]


def resize_module(target: Shape, source: Shape, *, grid: Literal["centred", "corner"]) -> nn.Module:
    """The map ``(B, C, *target)`` to ``(B, C, *source)`` on that grid; nothing where the sizes agree."""
    if target == source:
        return nn.Identity()
    if grid == "corner":
        return CornerGridResize(target, source)
    blocks = [outer // inner for outer, inner in zip(target, source, strict=True)]
    if all(
        inner * block == outer for outer, inner, block in zip(target, source, blocks, strict=True)
    ):
        return nn.AvgPool2d((blocks[0], blocks[1]))
    return BilinearResize(target, source)


class _SeparableResize(nn.Module):
    """A map of each side by fixed weights; as matrix products, whose gradients CUDA gives with the same bits again."""

    rows: Tensor
    columns: Tensor

    def __init__(self, target: Shape, source: Shape) -> None:
        super().__init__()
        for name, size, scaled in zip(("rows", "columns"), target, source, strict=True):
            self.register_buffer(name, self.side_weights(size, scaled), persistent=False)

    @staticmethod
    def side_weights(size: int, scaled: int) -> Tensor:
        """``(scaled, size)``: what each of the pixels gives to each of the scaled ones, along one side."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, *target)`` to ``(B, C, *source)``."""
        return self.rows.to(images) @ images @ self.columns.to(images).T


class BilinearResize(_SeparableResize):
    """Bilinear interpolation between the centres of pixels.

    A side that shrinks is antialiased; one that grows is not changed by that.
    """

    @staticmethod
    def side_weights(size: int, scaled: int) -> Tensor:
        """What torch's interpolation makes of images of one white pixel."""
        pixels = torch.eye(size, dtype=torch.float64)[None, None]
        return functional.interpolate(pixels, [scaled, size], mode="bilinear", antialias=True)[0, 0]


class CornerGridResize(_SeparableResize):
    """Bilinear interpolation where output pixel i is read at ``i * in / out``, as TensorFlow 1's ``resize_images``."""

    @staticmethod
    def side_weights(size: int, scaled: int) -> Tensor:
        """Of the two pixels that a place lies between."""
        places = torch.arange(scaled, dtype=torch.float64) * size / scaled
        below = places.floor().long()
        above = (below + 1).clamp_max(size - 1)
        share = (places - below).unsqueeze(1)
        pixels = torch.eye(size, dtype=torch.float64)
        return ((1 - share) * pixels[below] + share * pixels[above]).float()


@dataclass(frozen=True, slots=True)
class FixedAdapter:
    """An adapter without anything to learn.

    Args:
        name: What it is called in errors.
        gives: From the shape of what comes in and the source's to the shape of what goes out, which need not be the
            source's: in a chain others follow. Raises Inapplicable where it cannot work.
        build: From both shapes to the module.
    """

    name: str
    output_shape: Callable[[Shape, Shape], Shape]
    build_module: Callable[[Shape, Shape], nn.Module]

    @property
    def learned(self) -> bool:
        """It is not."""
        return False

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """What it makes of inputs of the shape `target`, on their way to the shape `source`."""
        return self.output_shape(target, source)

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """The map ``(B, *target) -> (B, *source)``.

        Raises:
            Inapplicable: It does not lead from the one shape to the other.
        """
        shapes.require_source_shape(self.name, self.output_shape, target, source)
        return self.build_module(target, source)


def identity_adapter() -> FixedAdapter:
    """Inputs as they are, of any shape."""
    return FixedAdapter("identity", shapes.after_identity, lambda *_: nn.Identity())


def resize_adapter(*, grid: Literal["centred", "corner"]) -> FixedAdapter:
    """Images of the source's height and width."""
    return FixedAdapter(
        "resize",
        shapes.after_resize,
        lambda target, source: resize_module(target[1:], source[1:], grid=grid),
    )


def channel_mean_adapter() -> FixedAdapter:
    """One channel."""
    return FixedAdapter("channel_mean", shapes.after_channel_mean, lambda *_: ChannelMean())


def channel_repeat_adapter() -> FixedAdapter:
    """The source's channels, of one."""
    return FixedAdapter(
        "channel_repeat", shapes.after_channel_repeat, lambda _, source: ChannelRepeat(source[0])
    )


def center_crop_adapter() -> FixedAdapter:
    """A window of the source's height and width."""
    return FixedAdapter(
        "centre_crop",
        shapes.after_center_crop,
        lambda target, source: CenterCrop(target[1:], source[1:]),
    )


def pad_adapter(*, value: float) -> FixedAdapter:
    """A field of the source's height and width, the image in its middle."""
    return FixedAdapter(
        "pad",
        shapes.after_pad,
        lambda target, source: CenterPad(target[1:], source[1:], value=value),
    )


def random_pad_adapter(*, value: float) -> FixedAdapter:
    """The same field, the image anywhere in it while in training mode."""
    return FixedAdapter(
        "random_pad",
        shapes.after_pad,
        lambda target, source: RandomPad(target[1:], source[1:], value=value),
    )
