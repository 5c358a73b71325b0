"""Augmentations of training images, drawn for each sample and applied to whole batches.

The change of a sample depends on the stream, the epoch and the sample's key alone, not on batches or their order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit.training_config import Augment, AugmentName
from advtransfer.types import Context, Shape

Augmentation: TypeAlias = Callable[[Tensor, Sequence[int], int], Tensor]
"""From images ``(B, C, H, W)`` in [0, 1], the samples' keys and the epoch to images of the same shape, in [0, 1]."""

JITTER_RANGE, MAX_ROTATION_DEGREES = 0.25, 2.0  # Utrera et al., 2021
GRAYSCALE_WEIGHTS = (0.2989, 0.587, 0.114)  # the weights of torchvision
JITTER_ORDERS = torch.tensor(list(itertools.permutations(range(3))))


def make_augmentation(
    names: Augment, *, shape: Shape, context: Context, stream: str = "augment"
) -> Augmentation | None:
    """What `train` takes as `augment`: the named changes in their order; None for none.

    ``crop_padded``, ``pad_crop_2``: zeros around, 4 or 2 pixels wide, then a random window of the old size. ``flip_horizontally``: left
    to right, every other image. ``jitter_colors``: brightness, contrast and saturation, in random order, each times a
    factor from 0.75 to 1.25. ``rotate_images``: by up to 2 degrees either way, nearest neighbour, zeros from outside; below
    some 30 pixels a side it moves nothing. All as torchvision's transforms v2 of these names do with the settings of
    papers 000, 001 and 002.

    Args:
        names: The changes.
        shape: The shape of one image, ``(C, H, W)``.
        context: Where the random numbers come from.
        stream: Names their stream.

    Raises:
        ValueError: The inputs are not images, or have no colours to change.
    """
    if names == "none":
        return None
    if len(shape) != 3 or shape[0] not in (1, 3):
        expected = "images (C, H, W) of 1 or 3 channels; leave augment out"
        raise ValueError(
            f"found inputs of shape {shape} to augment by {', '.join(names)}; expected {expected}"
        )
    changes = [CHANGES[name] for name in names]

    def augment(images: Tensor, keys: Sequence[int], epoch: int) -> Tensor:
        drawn = _draw_numbers(
            context, stream, epoch, keys, sum(change.number_count for change in changes)
        )
        used = 0
        for change in changes:
            images = change.apply(images, drawn[:, used : used + change.number_count])
            used += change.number_count
        return images

    return augment


def crop_padded(images: Tensor, drawn: Tensor, *, padding: int) -> Tensor:
    """A window of the padded image, at the place that two numbers in [0, 1) say: row, column."""
    height, width = images.shape[-2:]
    corner = (drawn * (2 * padding + 1)).long()
    rows = (corner[:, :1] + torch.arange(height)).view(-1, 1, height, 1)
    columns = (corner[:, 1:] + torch.arange(width)).view(-1, 1, 1, width)
    batch = torch.arange(len(images)).view(-1, 1, 1, 1)
    channels = torch.arange(images.shape[1]).view(1, -1, 1, 1)
    return functional.pad(images, [padding] * 4)[batch, channels, rows, columns]


def flip_horizontally(images: Tensor, drawn: Tensor) -> Tensor:
    """The mirror image where the number is below one half."""
    return torch.where(drawn.view(-1, 1, 1, 1) < 0.5, images.flip(-1), images)


def rotate_images(images: Tensor, drawn: Tensor) -> Tensor:
    """Each image turned about its centre, counter-clockwise for numbers above one half."""
    height, width = images.shape[-2:]
    angle = (2 * drawn[:, 0] - 1) * math.radians(MAX_ROTATION_DEGREES)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # where each pixel comes from, in coordinates from -1 to 1 along either side
    back = torch.stack(
        [cos, -sin * height / width, zero, sin * width / height, cos, zero], dim=1
    ).view(-1, 2, 3)
    grid = functional.affine_grid(back.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )


def jitter_colors(images: Tensor, drawn: Tensor) -> Tensor:
    """Brightness, contrast and saturation by the first three numbers, in the order that the fourth one says."""
    factors = (1 - JITTER_RANGE + 2 * JITTER_RANGE * drawn[:, :3]).to(images).view(-1, 3, 1, 1, 1)
    orders = JITTER_ORDERS[(drawn[:, 3] * len(JITTER_ORDERS)).long()]
    images = images.clone()
    for place, change in itertools.product(range(3), range(3)):
        now = orders[:, place] == change
        images[now] = _apply_jitter(images[now], factors[now, change], change)
    return images


def _apply_jitter(images: Tensor, factor: Tensor, change: int) -> Tensor:
    """Mixed with black, with the image's mean grey, or with the pixel's grey."""
    match change:
        case 0:
            other = torch.zeros_like(images)
        case 1:
            other = _to_grayscale(images).mean((1, 2, 3), keepdim=True)
        case _:
            other = _to_grayscale(images)
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _to_grayscale(images: Tensor) -> Tensor:
    """``(B, 1, H, W)``."""
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor(GRAYSCALE_WEIGHTS).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _draw_numbers(
    context: Context, stream: str, epoch: int, keys: Sequence[int], count: int
) -> Tensor:
    """``(B, count)`` numbers in [0, 1), float64 so that none is rounded up to 1 on its way to an integer."""
    rows = [
        torch.rand(count, generator=context.generator(stream, epoch, key), dtype=torch.float64)
        for key in keys
    ]
    return torch.stack(rows)


@dataclass(frozen=True, slots=True)
class _Change:
    """A change to images, and how many random numbers it takes a sample."""

    number_count: int
    apply: Callable[[Tensor, Tensor], Tensor]


CHANGES: Mapping[AugmentName, _Change] = {
    "pad_crop": _Change(2, lambda images, drawn: crop_padded(images, drawn, padding=4)),
    "pad_crop_2": _Change(2, lambda images, drawn: crop_padded(images, drawn, padding=2)),
    "flip": _Change(1, flip_horizontally),
    "colour_jitter": _Change(4, jitter_colors),
    "rotation": _Change(1, rotate_images),
}
