"""Windows cut out of images, and images laid into larger fields."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.types import Shape

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns of an image."""


class Crop(nn.Module):
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


class Pad(nn.Module):
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
    """As `Pad` in eval mode; in training mode each image lies at a place drawn from torch's global random state."""

    def __init__(self, target: Shape, source: Shape, *, value: float) -> None:
        super().__init__()
        self.centred, self.field = Pad(target, source, value=value), source

    def forward(self, images: Tensor) -> Tensor:
        """The image and its margins."""
        if not self.training:
            centred: Tensor = self.centred(images)
            return centred
        (height, width), (tall, wide) = self.centred.margins, self.field
        # drawn on the CPU, so that every device places alike
        above, before = (torch.randint(margin + 1, (len(images), 1)).to(images.device) for margin in (height, width))
        rows = (height - above + torch.arange(tall, device=images.device)).view(-1, 1, tall, 1)
        columns = (width - before + torch.arange(wide, device=images.device)).view(-1, 1, 1, wide)
        batch = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
        channels = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
        # room for every place on all four sides, out of which each image's own field is cut
        roomy = functional.pad(images, (width, width, height, height), value=self.centred.value)
        return roomy[batch, channels, rows, columns]
