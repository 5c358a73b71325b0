"""Images made larger or smaller."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.types import Shape


def scaling(target: Shape, source: Shape, *, grid: Literal["centred", "corner"]) -> nn.Module:
    """The map ``(B, C, *target)`` to ``(B, C, *source)`` on that grid; nothing where the sizes agree."""
    if target == source:
        return nn.Identity()
    if grid == "corner":
        return CornerGrid(target, source)
    blocks = [outer // inner for outer, inner in zip(target, source, strict=True)]
    if all(inner * block == outer for outer, inner, block in zip(target, source, blocks, strict=True)):
        return nn.AvgPool2d((blocks[0], blocks[1]))
    return Bilinear(target, source)


class _Interpolation(nn.Module):
    """A map of each side by fixed weights; as matrix products, whose gradients CUDA gives with the same bits again."""

    rows: Tensor
    columns: Tensor

    def __init__(self, target: Shape, source: Shape) -> None:
        super().__init__()
        for name, size, scaled in zip(("rows", "columns"), target, source, strict=True):
            self.register_buffer(name, self.weights(size, scaled), persistent=False)

    @staticmethod
    def weights(size: int, scaled: int) -> Tensor:
        """``(scaled, size)``: what each of the pixels gives to each of the scaled ones, along one side."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, *target)`` to ``(B, C, *source)``."""
        return self.rows.to(images) @ images @ self.columns.to(images).T


class Bilinear(_Interpolation):
    """Bilinear interpolation between the centres of pixels.

    A side that shrinks is antialiased; one that grows is not changed by that.
    """

    @staticmethod
    def weights(size: int, scaled: int) -> Tensor:
        """What torch's interpolation makes of images of one white pixel."""
        pixels = torch.eye(size, dtype=torch.float64)[None, None]
        return functional.interpolate(pixels, [scaled, size], mode="bilinear", antialias=True)[0, 0]


class CornerGrid(_Interpolation):
    """Bilinear interpolation where output pixel i is read at ``i * in / out``, as TensorFlow 1's ``resize_images``."""

    @staticmethod
    def weights(size: int, scaled: int) -> Tensor:
        """Of the two pixels that a place lies between."""
        places = torch.arange(scaled, dtype=torch.float64) * size / scaled
        below = places.floor().long()
        above = (below + 1).clamp_max(size - 1)
        share = (places - below).unsqueeze(1)
        pixels = torch.eye(size, dtype=torch.float64)
        return ((1 - share) * pixels[below] + share * pixels[above]).float()
