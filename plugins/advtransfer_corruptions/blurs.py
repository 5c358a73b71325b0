"""Blurs. Images are ``(B, C, H, W)`` float64 in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import convolve, gaussian_filter

from advtransfer_corruptions.draws import Array, Draws


def gaussian_blur(images: Array, draws: Draws, sigma: float) -> Array:
    """Return the images, each channel blurred by a Gaussian of `sigma` pixels."""
    blurred: Array = gaussian_filter(images, (0, 0, sigma, sigma), mode="nearest")
    return blurred


def glass_blur(images: Array, draws: Draws, sigma: float, reach: float, rounds: float) -> Array:
    """Return the images with pixels replaced by near ones at random, between two blurs."""
    shuffled = gaussian_blur(images, draws, sigma)
    height, width = images.shape[2:]
    distance = min(int(reach), (height - 1) // 2, (width - 1) // 2)
    everyone = np.arange(len(images))
    for _ in range(int(rounds) if distance else 0):
        numbers = draws.uniform(2, height, width)
        moves = np.floor(numbers * 2 * distance).astype(int) - distance
        for row in range(height - distance, distance, -1):
            for column in range(width - distance, distance, -1):
                other_row = row + moves[:, 0, row, column]
                other_column = column + moves[:, 1, row, column]
                # The paper swaps the two pixels. The scripts behind the published images meant to,
                # but copy one to the other; their images are what results are compared with.
                near = shuffled[everyone, :, other_row, other_column]
                shuffled[:, :, row, column] = near
    return gaussian_blur(shuffled, draws, sigma)


def defocus_blur(images: Array, draws: Draws, radius: float, edge: float) -> Array:
    """Return the images blurred by a disk of `radius` pixels, whose edge a Gaussian softens."""
    kernel = disk(radius, edge)
    blurred: Array = convolve(images, kernel[None, None], mode="mirror")
    return blurred


def disk(radius: float, edge: float) -> Array:
    """Return a disk's kernel ``(K, K)`` of sum 1, softened by a Gaussian of sigma `edge`.

    The Gaussian has 3 x 3 pixels, or 5 x 5 for a radius above 8.
    """
    reach = math.ceil(radius)
    steps = np.arange(-reach - 2, reach + 3)
    inside = (steps[:, None] ** 2 + steps[None] ** 2 <= radius**2).astype(float)
    softness = np.arange(-2, 3) if radius > 8 else np.arange(-1, 2)
    line = np.exp(-(softness**2) / (2 * edge**2))
    soft: Array = convolve(inside, np.outer(line, line), mode="constant")
    soft /= soft.sum()
    return soft


def motion_blur(images: Array, draws: Draws, radius: float, sigma: float) -> Array:
    """Return the images as if the camera had moved, at most 45 degrees off the horizontal."""
    angles = np.deg2rad(90 * draws.uniform(1)[:, 0] - 45)
    return blur_along(images, angles, radius, sigma)


def blur_along(images: Array, angles: Array, radius: float, sigma: float) -> Array:
    """Return the images smeared in one direction each, by a falling half of a Gaussian.

    As ImageMagick's motion blur, which the published images were made with: ``2 * radius + 1``
    samples, each at the pixel nearest to its place.

    Args:
        images: ``(B, C, H, W)``.
        angles: From the horizontal, in radians, ``(B,)``.
        radius: Half the length in pixels.
        sigma: Of the Gaussian, in pixels.
    """
    steps = np.arange(2 * int(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    height, width = images.shape[2:]
    smeared = np.zeros_like(images)
    batch = np.arange(len(images))[:, None, None]
    for step, weight in zip(steps, weights, strict=True):
        down = np.rint(step * np.sin(angles)).astype(int)
        right = np.rint(step * np.cos(angles)).astype(int)
        rows = np.clip(np.arange(height)[None] + down[:, None], 0, height - 1)
        columns = np.clip(np.arange(width)[None] + right[:, None], 0, width - 1)
        # The index of the channels stands between others, so that they come last.
        moved = images[batch, :, rows[:, :, None], columns[:, None, :]]
        smeared += weight * moved.transpose(0, 3, 1, 2)
    return smeared


def zoom_blur(images: Array, draws: Draws, end: float, step: float) -> Array:
    """Return the mean of the images and of them enlarged by factors from 1 to `end`."""
    factors = np.arange(1, end, step)
    enlarged = [enlarge(images, factor) for factor in factors]
    result: Array = (images + np.sum(enlarged, axis=0)) / (len(factors) + 1)
    return result


def enlarge(images: Array, factor: float) -> Array:
    """Return the middle of the images, linearly enlarged by a factor to their own size."""
    rows = _enlargement(images.shape[2], factor)
    columns = _enlargement(images.shape[3], factor)
    result: Array = rows @ images @ columns.T
    return result


def _enlargement(size: int, factor: float) -> Array:
    """Return the matrix ``(size, size)`` that enlarges the middle of a line of pixels."""
    kept = math.ceil(size / factor)
    first = (size - kept) // 2
    enlarged = max(round(kept * factor), size)
    trimmed = (enlarged - size) // 2
    # The ends of the part stay the ends of what it is enlarged to.
    spacing = (kept - 1) / max(enlarged - 1, 1)
    places = first + spacing * (np.arange(size) + trimmed)
    matrix: Array = np.maximum(1 - np.abs(places[:, None] - np.arange(size)[None]), 0)
    return matrix
