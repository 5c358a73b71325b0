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
    """Mean over the channels, ``(B, C, H, W)`` to ``(B, 1, H, W)``.

    Each channel gets 1 / C of the gradient.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return one channel."""
        return images.mean(1, keepdim=True)


class ChannelRepeat(nn.Module):
    """Repetition of the only channel, ``(B, 1, H, W)`` to ``(B, channels, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the channel, repeated."""
        return images.repeat(1, self.channels, 1, 1)


Window: TypeAlias = tuple[slice, slice]
"""Rows and columns of an image."""


class CenterCrop(nn.Module):
    """Window in the middle of the image, ``(B, C, *target)`` to ``(B, C, *source)``.

    Attributes:
        window: Rows and columns of the target's images that the source sees; the others get no
            gradient.
    """

    window: Window

    def __init__(self, target: Shape, source: Shape) -> None:
        super().__init__()
        top = (target[0] - source[0]) // 2
        left = (target[1] - source[1]) // 2
        self.window = (slice(top, top + source[0]), slice(left, left + source[1]))

    def forward(self, images: Tensor) -> Tensor:
        """Return the pixels in the window."""
        rows, columns = self.window
        return images[..., rows, columns]


class CenterPad(nn.Module):
    """Image in the middle of a constant frame, ``(B, C, *target)`` to ``(B, C, *source)``."""

    def __init__(self, target: Shape, source: Shape, *, value: float) -> None:
        super().__init__()
        self.margins = tuple(outer - inner for outer, inner in zip(source, target, strict=True))
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        """Return the image and its margins."""
        height, width = self.margins
        top = height // 2
        left = width // 2
        return functional.pad(images, (left, width - left, top, height - top), value=self.value)


class RandomPad(nn.Module):
    """Image in a constant frame, at a random place in training mode and in the middle in eval mode.

    ``(B, C, *target)`` to ``(B, C, *source)``. The places are drawn from torch's global random
    state.
    """

    def __init__(self, target: Shape, source: Shape, *, value: float) -> None:
        super().__init__()
        self.centred = CenterPad(target, source, value=value)
        self.field = source

    def forward(self, images: Tensor) -> Tensor:
        """Return the image and its margins."""
        if not self.training:
            centred: Tensor = self.centred(images)
            return centred
        count, channel_count = images.shape[:2]
        vertical_margin, horizontal_margin = self.centred.margins
        height, width = self.field
        device = images.device
        # Drawn on the CPU, so that the places are the same on every device.
        top = torch.randint(vertical_margin + 1, (count, 1)).to(device)
        left = torch.randint(horizontal_margin + 1, (count, 1)).to(device)
        rows = vertical_margin - top + torch.arange(height, device=device)
        columns = horizontal_margin - left + torch.arange(width, device=device)
        batch = torch.arange(count, device=device).view(-1, 1, 1, 1)
        channels = torch.arange(channel_count, device=device).view(1, -1, 1, 1)
        # Padded by the whole margin on all sides, the image has room for every place. Each
        # image's own frame is then cut out.
        padding = (horizontal_margin, horizontal_margin, vertical_margin, vertical_margin)
        padded = functional.pad(images, padding, value=self.centred.value)
        return padded[batch, channels, rows.view(-1, 1, height, 1), columns.view(-1, 1, 1, width)]


def resize_module(target: Shape, source: Shape, *, grid: Literal["centred", "corner"]) -> nn.Module:
    """Return the resize of ``(B, C, *target)`` to ``(B, C, *source)``."""
    if target == source:
        return nn.Identity()
    if grid == "corner":
        return CornerGridResize(target, source)
    # Only a side that shrinks, or stays, is a multiple of the other.
    is_divisible = all(outer % inner == 0 for outer, inner in zip(target, source, strict=True))
    if is_divisible:
        return nn.AvgPool2d((target[0] // source[0], target[1] // source[1]))
    return BilinearResize(target, source)


class _SeparableResize(nn.Module):
    """Resize of each side by fixed weights, as matrix products.

    CUDA computes the gradients of matrix products with the same bits in every run, unlike those of
    its interpolation.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, target: Shape, source: Shape) -> None:
        super().__init__()
        # The shapes determine the weights, so saved models need not contain them.
        row_weights = self.side_weights(target[0], source[0])
        column_weights = self.side_weights(target[1], source[1])
        self.register_buffer("rows", row_weights, persistent=False)
        self.register_buffer("columns", column_weights, persistent=False)

    @staticmethod
    def side_weights(size: int, scaled: int) -> Tensor:
        """Return ``(scaled, size)`` weights from the pixels of one side to the scaled ones."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return the resized images, ``(B, C, *source)``."""
        return self.rows.to(images) @ images @ self.columns.to(images).T


class BilinearResize(_SeparableResize):
    """Bilinear interpolation between the centres of pixels.

    A side that shrinks is antialiased; a side that grows is not affected by antialiasing.
    """

    @staticmethod
    def side_weights(size: int, scaled: int) -> Tensor:
        """Return the weights of torch's interpolation, from images of one white pixel."""
        # Interpolation is linear, so its outputs for unit images are its weights.
        pixels = torch.eye(size, dtype=torch.float64)[None, None]
        return functional.interpolate(pixels, [scaled, size], mode="bilinear", antialias=True)[0, 0]


class CornerGridResize(_SeparableResize):
    """Bilinear interpolation that reads output pixel i at ``i * in / out``.

    The same as TensorFlow 1's ``resize_images``.
    """

    @staticmethod
    def side_weights(size: int, scaled: int) -> Tensor:
        """Return the weights of the two pixels around each place."""
        places = torch.arange(scaled, dtype=torch.float64) * size / scaled
        lower = places.floor().long()
        upper = (lower + 1).clamp_max(size - 1)
        share = (places - lower).unsqueeze(1)
        pixels = torch.eye(size, dtype=torch.float64)
        return ((1 - share) * pixels[lower] + share * pixels[upper]).float()


@dataclass(frozen=True, slots=True)
class FixedAdapter:
    """Adapter without trained parameters.

    Args:
        name: Name of the adapter in errors.
        output_shape: From the input shape and the source's shape to the output shape, which need
            not be the source's, since others may follow in a chain. Raises Inapplicable where the
            adapter does not apply.
        build_module: From both shapes to the module.
    """

    name: str
    output_shape: Callable[[Shape, Shape], Shape]
    build_module: Callable[[Shape, Shape], nn.Module]

    @property
    def learned(self) -> bool:
        """False: it has no trained parameters."""
        return False

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """Return the output shape for inputs of shape `target`, on their way to shape `source`."""
        return self.output_shape(target, source)

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """Return the map ``(B, *target) -> (B, *source)``.

        Raises:
            Inapplicable: It does not map the one shape to the other.
        """
        shapes.require_source_shape(self.name, self.output_shape, target, source)
        return self.build_module(target, source)


def identity_adapter() -> FixedAdapter:
    """Return the identity, for inputs of any shape."""
    return FixedAdapter("identity", shapes.after_identity, lambda *_: nn.Identity())


def resize_adapter(*, grid: Literal["centred", "corner"]) -> FixedAdapter:
    """Return the resize to the source's height and width."""
    return FixedAdapter(
        "resize",
        shapes.after_resize,
        lambda target, source: resize_module(target[1:], source[1:], grid=grid),
    )


def channel_mean_adapter() -> FixedAdapter:
    """Return the mean over the channels."""
    return FixedAdapter("channel_mean", shapes.after_channel_mean, lambda *_: ChannelMean())


def channel_repeat_adapter() -> FixedAdapter:
    """Return the repetition of one channel for each of the source's."""
    return FixedAdapter(
        "channel_repeat", shapes.after_channel_repeat, lambda _, source: ChannelRepeat(source[0])
    )


def center_crop_adapter() -> FixedAdapter:
    """Return the crop to the source's height and width."""
    return FixedAdapter(
        "centre_crop",
        shapes.after_center_crop,
        lambda target, source: CenterCrop(target[1:], source[1:]),
    )


def pad_adapter(*, value: float) -> FixedAdapter:
    """Return the pad to the source's height and width, with the image in the middle."""
    return FixedAdapter(
        "pad",
        shapes.after_pad,
        lambda target, source: CenterPad(target[1:], source[1:], value=value),
    )


def random_pad_adapter(*, value: float) -> FixedAdapter:
    """Return the same pad, with the image at a random place in training mode."""
    return FixedAdapter(
        "random_pad",
        shapes.after_pad,
        lambda target, source: RandomPad(target[1:], source[1:], value=value),
    )
