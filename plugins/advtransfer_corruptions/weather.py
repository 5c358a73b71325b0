"""Snow, frost, fog and brightness. Images are ``(B, C, H, W)`` float64 in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advtransfer_corruptions.blurs import blur_along, enlarge
from advtransfer_corruptions.draws import Array, Draws

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""


def snow(
    images: Array,
    draws: Draws,
    mean: float,
    spread: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    weight: float,
) -> Array:
    """Return the images paled, with falling flakes and the same ones turned by 180 degrees."""
    height, width = images.shape[2:]
    flakes = enlarge(mean + spread * draws.normal(1, height, width), zoom)
    flakes = np.where(flakes < threshold, 0, np.clip(flakes, 0, 1))
    angles = np.deg2rad(-135 + 90 * draws.uniform(1)[:, 0])
    fallen = blur_along(flakes, angles, radius, sigma)
    paled = weight * images + (1 - weight) * np.maximum(images, 1.5 * _brightness(images) + 0.5)
    return paled + fallen + fallen[:, :, ::-1, ::-1]


def frost(
    images: Array,
    draws: Draws,
    image_weight: float,
    frost_weight: float,
    *,
    photographs: Sequence[Array],
) -> Array:
    """Return the images under a random part of a random photograph ``(C, H', W')`` of frost.

    The photographs are at least as large as the images.
    """
    channels, height, width = images.shape[1:]
    parts = np.empty_like(images)
    for number, (choice, down, right) in enumerate(draws.uniform(3)):
        photograph = photographs[int(choice * len(photographs))]
        top = int(down * (photograph.shape[1] - height + 1))
        left = int(right * (photograph.shape[2] - width + 1))
        part = photograph[:, top : top + height, left : left + width]
        parts[number] = part if channels == len(part) else _brightness(part[None])[0]
    return image_weight * images + frost_weight * parts


def fog(images: Array, draws: Draws, strength: float, decay: float) -> Array:
    """Return the images under clouds, darkened so that the brightest value stays."""
    clouds = plasma(draws, max(images.shape[2:]), decay)
    clouds = clouds[:, None, : images.shape[2], : images.shape[3]]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    result: Array = (images + strength * clouds) * brightest / (brightest + strength)
    return result


def plasma(draws: Draws, least: int, decay: float) -> Array:
    """Return clouds in [0, 1], ``(B, S, S)``, of the least power of two S that is at least `least`.

    Random midpoint displacement on a torus (the diamond-square algorithm; Fournier, Fussell and
    Carpenter, 1982): at each halving of the distance the displacement is divided by decay squared.
    """
    size = 2
    while size < least:
        size *= 2
    heights = np.zeros((len(draws.keys), size, size))
    step = size
    scale = 1.0
    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        middles = (pairs + np.roll(pairs, -1, axis=2)) / 4
        heights[:, half::step, half::step] = middles + scale * _displacements(draws, size // step)
        centres = heights[:, half::step, half::step]
        across = corners + np.roll(corners, -1, axis=2)
        along = centres + np.roll(centres, 1, axis=1)
        top_edges = (across + along) / 4 + scale * _displacements(draws, size // step)
        down = corners + np.roll(corners, -1, axis=1)
        beside = centres + np.roll(centres, 1, axis=2)
        left_edges = (down + beside) / 4 + scale * _displacements(draws, size // step)
        heights[:, ::step, half::step] = top_edges
        heights[:, half::step, ::step] = left_edges
        step = half
        scale /= decay**2
    heights -= heights.min(axis=(1, 2), keepdims=True)
    clouds: Array = heights / heights.max(axis=(1, 2), keepdims=True)
    return clouds


def _displacements(draws: Draws, count: int) -> Array:
    return 2 * draws.uniform(count, count) - 1


def brightness(images: Array, draws: Draws, added: float) -> Array:
    """Return the images with more of the value of HSV, hue and saturation unchanged."""
    values = images.max(axis=1, keepdims=True)
    brighter = np.clip(values + added, 0, 1)
    # A black pixel has no hue, and becomes grey.
    is_black = values == 0
    result: Array = np.where(is_black, brighter, images * brighter / np.where(is_black, 1, values))
    return result


def _brightness(images: Array) -> Array:
    """Return the brightness ``(B, 1, H, W)`` of images of one or three channels."""
    if images.shape[1] == 1:
        return images
    result: Array = np.einsum("c,bchw->bhw", LUMINANCE, images)[:, None]
    return result
