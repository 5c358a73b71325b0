"""Spatter: drops of water or splashes of mud on the lens. Images are ``(B, C, H, W)`` float64 in [0, 1]."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_propagation,
    correlate,
    distance_transform_edt,
    gaussian_filter,
    sobel,
    uniform_filter,
)

from advtransfer_corruptions.draws import Array, Draws
from advtransfer_corruptions.weather import LUMINANCE

Mask: TypeAlias = NDArray[np.bool_]

WATER = np.array([175, 238, 238]) / 255
"""Pale turquoise."""
MUD = np.array([63, 42, 20]) / 255
MUD_DENSITY = 0.8
"""Blurred mud is left where it is at least this dense."""
EDGE_THRESHOLDS = (50, 150)
"""Of gradients of 8-bit levels: an edge begins above the second and goes on above the first."""
MAX_DISTANCE = 20.0
"""Distances from an edge are cut off here, in pixels."""
RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float64)
"""Kernel that lights the drops from one corner."""
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def spatter(
    images: Array,
    draws: Draws,
    mean: float,
    spread: float,
    sigma: float,
    threshold: float,
    strength: float,
    is_mud: float,
) -> Array:
    """Return the images under a liquid, which lies where blurred noise exceeds a threshold.

    Args:
        images: The images.
        draws: Random numbers.
        mean: Mean of the noise.
        spread: Its standard deviation, before the blur.
        sigma: Sigma of the blur, in pixels.
        threshold: The level of noise above which there is liquid.
        strength: Of water, the largest share of its colour that is added; of mud, the sigma of the
            blur of its edges, in pixels.
        is_mud: 1 for mud, 0 for water.
    """
    noise = mean + spread * draws.normal(*images.shape[2:])
    liquid = gaussian_filter(noise, (0, sigma, sigma), mode="nearest")
    liquid = np.where(liquid < threshold, 0.0, liquid)
    if is_mud:
        density = (liquid > threshold).astype(np.float64)
        density = gaussian_filter(density, (0, strength, strength), mode="nearest")
        cover = np.where(density < MUD_DENSITY, 0.0, density)[:, None]
        result: Array = images * (1 - cover) + cover * _colour(MUD, images)
        return result
    masks = [_water_mask(np.floor(255 * np.clip(each, 0, 1))) for each in liquid]
    result = images + strength * np.stack(masks)[:, None] * _colour(WATER, images)
    return result


def _colour(colour: Array, images: Array) -> Array:
    """Return a colour in the images' channels, ``(C, 1, 1)``; of one channel, its brightness."""
    channels = colour if images.shape[1] == len(colour) else np.array([LUMINANCE @ colour])
    return channels[:, None, None]


def _water_mask(levels: Array) -> Array:
    """Return how much of the water's colour each pixel gets, in [0, 1], from 8-bit levels ``(H, W)``.

    Water is lit by the relief of the distances from its edges, whose histogram is equalised.
    """
    edges = canny_edges(levels)
    distances = np.full(levels.shape, MAX_DISTANCE)
    if edges.any():
        distances = np.minimum(distance_transform_edt(~edges), MAX_DISTANCE)
    distances = np.floor(uniform_filter(distances, 3, mode="mirror"))
    lit = correlate(equalised(distances), RELIEF, mode="mirror")
    lit = np.rint(uniform_filter(np.clip(lit, 0, 255), 3, mode="mirror"))
    mask = levels * lit
    largest = mask.max()
    result: Array = mask / largest if largest > 0 else mask
    return result


def canny_edges(levels: Array) -> Mask:
    """Return where an image ``(H, W)`` has edges, as booleans (Canny, 1986).

    Gradients by Sobel's kernels, their size as the sum of both parts; an edge is a largest gradient
    along its own direction, to one of four.
    """
    down = sobel(levels, axis=0, mode="nearest")
    across = sobel(levels, axis=1, mode="nearest")
    sizes = np.abs(down) + np.abs(across)
    height, width = levels.shape
    padded = np.pad(sizes, 1)

    def neighbour(row: int, column: int) -> Array:
        return padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    is_across = np.abs(down) < np.tan(np.pi / 8) * np.abs(across)
    is_down = np.abs(down) > np.tan(3 * np.pi / 8) * np.abs(across)
    along_across = (sizes > neighbour(0, -1)) & (sizes >= neighbour(0, 1))
    along_down = (sizes > neighbour(-1, 0)) & (sizes >= neighbour(1, 0))
    falling = (sizes > neighbour(-1, -1)) & (sizes > neighbour(1, 1))
    rising = (sizes > neighbour(-1, 1)) & (sizes > neighbour(1, -1))
    diagonal = np.where(down * across >= 0, falling, rising)
    is_largest = np.where(is_across, along_across, np.where(is_down, along_down, diagonal))
    low, high = EDGE_THRESHOLDS
    weak = is_largest & (sizes > low)
    edges: Mask = binary_propagation(weak & (sizes > high), EIGHT_NEIGHBOURS, mask=weak)
    return edges


def equalised(levels: Array) -> Array:
    """Return 8-bit levels ``(H, W)`` with an equalised histogram; of one level, as they are."""
    values, positions, counts = np.unique(levels, return_inverse=True, return_counts=True)
    if len(values) == 1:
        return levels
    # The lowest level becomes 0, and the highest 255.
    below = np.cumsum(counts) - counts[0]
    result: Array = np.rint(255 * below / below[-1])[positions].reshape(levels.shape)
    return result
