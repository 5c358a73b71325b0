"""Augmentations of training images, drawn for each sample and applied to whole batches.

The change of a sample depends on the stream, the epoch and the sample's key alone, not on batches
or their order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit.training_config import Augment, AugmentName
from advtransfer.types import Context, Shape

Augmentation: TypeAlias = Callable[[Tensor, Sequence[int], int], Tensor]
"""From images ``(B, C, H, W)`` in [0, 1], the samples' keys and the epoch to augmented images."""

JITTER_RANGE = 0.25  # Utrera et al., 2021
MAX_ROTATION_DEGREES = 2.0  # Utrera et al., 2021
CROP_AREAS = (0.08, 1.0)  # shares of the image: the defaults of torchvision
CROP_ATTEMPTS = 10
GRAYSCALE_WEIGHTS = (0.2989, 0.587, 0.114)  # the weights of torchvision
JITTER_ORDERS = torch.tensor(list(itertools.permutations(range(3))))


def make_augmentation(
    names: Augment, *, shape: Shape, context: Context, stream: str = "augment"
) -> Augmentation | None:
    """Return the `augment` argument of `train` that applies the named changes in their order.

    ``pad_crop``, ``pad_crop_2``: zero padding of 4 or 2 pixels, then a random window of the
    original size. ``random_resized_crop``: a random window of 8 to 100 % of the area with sides of
    3 : 4 to 4 : 3, resized to the original size (bilinear, with antialiasing). ``flip``:
    horizontal, with probability 1/2. ``colour_jitter``: brightness, contrast and saturation in
    random order, each times a factor from 0.75 to 1.25. ``rotation``: by up to 2 degrees either
    way, nearest neighbour, zeros from outside; images of less than about 30 pixels a side do not
    change. All equal the corresponding transforms v2 of torchvision with the settings of Liang et
    al. (2020), Utrera et al. (2021), Chan et al. (2020) and Salman et al. (2020).

    Args:
        names: The names of the changes, or ``none``.
        shape: The shape of one image, ``(C, H, W)``.
        context: The context that random numbers are drawn from.
        stream: The name of their random stream.

    Returns:
        The augmentation; None for ``none``.

    Raises:
        ValueError: The inputs are not images of 1 or 3 channels.
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
        number_count = sum(change.number_count for change in changes)
        # In float32 a product with an integer could be rounded up to that integer, an index out of
        # range.
        numbers = context.uniform(stream, keys, (number_count,), epoch).double()
        start = 0
        for change in changes:
            end = start + change.number_count
            images = change.apply(images, numbers[:, start:end])
            start = end
        return images

    return augment


def crop_padded(images: Tensor, drawn: Tensor, *, padding: int) -> Tensor:
    """Return a random window of each padded image.

    Args:
        images: ``(B, C, H, W)``.
        drawn: ``(B, 2)`` numbers in [0, 1) float64 on the CPU, for the row and the column of the
            window.
        padding: The width of the zeros around the images, in pixels.
    """
    # Index tensors instead of slices, since each image has its own window.
    height, width = images.shape[-2:]
    device = images.device
    corner = (drawn * (2 * padding + 1)).long().to(device)
    rows = (corner[:, :1] + torch.arange(height, device=device)).view(-1, 1, height, 1)
    columns = (corner[:, 1:] + torch.arange(width, device=device)).view(-1, 1, 1, width)
    batch = torch.arange(len(images), device=device).view(-1, 1, 1, 1)
    channels = torch.arange(images.shape[1], device=device).view(1, -1, 1, 1)
    return functional.pad(images, [padding] * 4)[batch, channels, rows, columns]


def crop_and_resize(images: Tensor, drawn: Tensor) -> Tensor:
    """Return a random window of each image ``(B, C, H, W)``, resized to the image's size.

    The first two numbers of ``(B, 22)`` give the row and the column of the window, each further
    pair the area and the ratio of an attempt; the first window that fits counts.
    """
    height, width = images.shape[-2:]
    resized = []
    for image, numbers in zip(images, drawn.tolist(), strict=True):
        rows, columns = _window_size(numbers[2:], height=height, width=width)
        top = int(numbers[0] * (height - rows + 1))
        left = int(numbers[1] * (width - columns + 1))
        window = image[None, :, top : top + rows, left : left + columns]
        resized.append(
            functional.interpolate(window, (height, width), mode="bilinear", antialias=True)
        )
    return torch.cat(resized).clamp(0, 1)


def _window_size(numbers: Sequence[float], *, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of a window, from pairs of numbers in [0, 1), one an attempt."""
    smallest, largest = CROP_AREAS
    for area, position in zip(numbers[::2], numbers[1::2], strict=True):
        target = height * width * (smallest + area * (largest - smallest))
        # From 3/4 to 4/3, uniform in the logarithm.
        ratio = math.exp((2 * position - 1) * math.log(4 / 3))
        rows = round(math.sqrt(target / ratio))
        columns = round(math.sqrt(target * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return rows, columns
    # The largest window within the ratios, as in torchvision.
    return min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))


def flip_horizontally(images: Tensor, drawn: Tensor) -> Tensor:
    """Return the images ``(B, C, H, W)``, mirrored where the number ``(B, 1)`` is below 1/2."""
    is_flipped = (drawn.view(-1, 1, 1, 1) < 0.5).to(images.device)
    return torch.where(is_flipped, images.flip(-1), images)


def rotate_images(images: Tensor, drawn: Tensor) -> Tensor:
    """Return each image ``(B, C, H, W)`` turned about its centre.

    The number ``(B, 1)`` in [0, 1) gives the angle; above 1/2 the rotation is counter-clockwise.
    """
    height, width = images.shape[-2:]
    angle = (2 * drawn[:, 0] - 1) * math.radians(MAX_ROTATION_DEGREES)
    cos = angle.cos()
    sin = angle.sin()
    zero = torch.zeros_like(angle)
    # affine_grid maps each output pixel to its source. Its coordinates run from -1 to 1 along
    # either side, so a rotation of an image that is not square must rescale them.
    entries = [cos, -sin * height / width, zero, sin * width / height, cos, zero]
    matrices = torch.stack(entries, dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )


def jitter_colors(images: Tensor, drawn: Tensor) -> Tensor:
    """Return the images ``(B, C, H, W)`` with changed brightness, contrast and saturation.

    The first three numbers of ``(B, 4)`` give the factors, and the fourth the order of the changes.
    """
    factors = (1 - JITTER_RANGE + 2 * JITTER_RANGE * drawn[:, :3]).to(images).view(-1, 3, 1, 1, 1)
    orders = JITTER_ORDERS[(drawn[:, 3] * len(JITTER_ORDERS)).long()]
    images = images.clone()
    for step, change in itertools.product(range(3), range(3)):
        is_next = orders[:, step] == change
        images[is_next] = _apply_jitter(images[is_next], factors[is_next, change], change)
    return images


def cut_and_mix(
    images: Tensor, labels: Tensor, *, classes: int, alpha: float, source: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Paste a box of another image of the batch into each image, and mix their labels by area.

    CutMix (Yun et al., 2019), section 3.1: x = M * x_A + (1 - M) * x_B and y = r y_A + (1 - r) y_B
    (equation 1), with r from Beta(alpha, alpha) and a box of sides W sqrt(1 - r) and H sqrt(1 - r)
    around a uniform centre (equation 2), the same for the whole batch. The box is cut off at the
    border, and r is then the share of the image outside of it.

    Args:
        images: ``(B, C, H, W)``.
        labels: ``(B,)`` classes.
        classes: K.
        alpha: The parameter of the Beta distribution; 1, which is uniform, in the paper.
        source: Random numbers of this batch.

    Returns:
        The images ``(B, C, H, W)`` and the shares of the classes ``(B, K)``.
    """
    height, width = images.shape[-2:]
    side = math.sqrt(1 - source.beta(alpha, alpha))
    rows = _box_range(source.uniform(0, height), side * height, height)
    columns = _box_range(source.uniform(0, width), side * width, width)
    partner = torch.from_numpy(source.permutation(len(images)))
    mixed = images.clone()
    mixed[..., rows, columns] = images[partner.to(images.device)][..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    ratio = 1 - area / (height * width)
    shares = functional.one_hot(labels, classes).to(images.dtype)
    return mixed, ratio * shares + (1 - ratio) * shares[partner.to(labels.device)]


def _box_range(centre: float, side: float, size: int) -> slice:
    """Return the pixels of a side of a box around a centre, inside an image of that size."""
    start = max(0, round(centre - side / 2))
    return slice(min(start, size), min(size, max(start, round(centre + side / 2))))


def _apply_jitter(images: Tensor, factor: Tensor, change: int) -> Tensor:
    """Return the images blended with another one that depends on the change.

    Brightness (0) blends with black, contrast (1) with the mean grey of the image, and saturation
    (2) with the grey of each pixel.
    """
    match change:
        case 0:
            other = torch.zeros_like(images)
        case 1:
            other = _to_grayscale(images).mean((1, 2, 3), keepdim=True)
        case _:
            other = _to_grayscale(images)
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _to_grayscale(images: Tensor) -> Tensor:
    """Return the images in grey, ``(B, 1, H, W)``."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(GRAYSCALE_WEIGHTS, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


@dataclass(frozen=True, slots=True)
class _Change:
    """A change to images.

    Args:
        number_count: How many random numbers it takes for each sample.
        apply: From images ``(B, C, H, W)`` and numbers ``(B, number_count)`` to changed images.
    """

    number_count: int
    apply: Callable[[Tensor, Tensor], Tensor]


CHANGES: Mapping[AugmentName, _Change] = {
    "pad_crop": _Change(2, partial(crop_padded, padding=4)),
    "pad_crop_2": _Change(2, partial(crop_padded, padding=2)),
    "random_resized_crop": _Change(2 + 2 * CROP_ATTEMPTS, crop_and_resize),
    "flip": _Change(1, flip_horizontally),
    "colour_jitter": _Change(4, jitter_colors),
    "rotation": _Change(1, rotate_images),
}
