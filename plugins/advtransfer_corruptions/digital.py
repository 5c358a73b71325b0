"""Contrast, saturation, elastic deformation, lower resolution, JPEG.

Images are ``(B, C, H, W)`` float64 in [0, 1].
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from advtransfer_corruptions.draws import Array, Draws


def contrast(images: Array, draws: Draws, factor: float) -> Array:
    """Return the images with each channel's distance from its mean times a factor."""
    means = images.mean(axis=(2, 3), keepdims=True)
    result: Array = (images - means) * factor + means
    return result


def saturate(images: Array, draws: Draws, factor: float, added: float) -> Array:
    """Return images of three channels with another saturation of HSV, hue and value unchanged."""
    values = images.max(axis=1, keepdims=True)
    spans = values - images.min(axis=1, keepdims=True)
    is_grey = spans == 0
    saturations = np.where(is_grey, 0, spans / np.where(values == 0, 1, values))
    wanted = values * np.clip(saturations * factor + added, 0, 1)
    coloured = values - (values - images) * wanted / np.where(is_grey, 1, spans)
    # A grey pixel has no hue; by convention its angle is 0, which is red.
    red = np.concatenate([values, values - wanted, values - wanted], axis=1)
    result: Array = np.where(is_grey, red, coloured)
    return result


def elastic(images: Array, draws: Draws, strength: float, width: float, shift: float) -> Array:
    """Return the images under a random affine map and a smooth random displacement.

    Args:
        images: The images.
        draws: Random numbers.
        strength: Factor of the displacement, which is uniform in [-1, 1] before it is blurred, as a
            share of the image's side.
        width: Sigma of the blur, as a share of the side.
        shift: Largest shift, along each axis, of the three points that define the affine map, as a
            share of the side.
    """
    height, columns = images.shape[2:]
    side = min(height, columns)
    middle = np.array([height // 2, columns // 2], dtype=float)
    arm = max(side // 3, 1)
    corners = middle + arm * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + shift * side * (2 * draws.uniform(3, 2) - 1)
    sigma = width * side
    displacements = strength * side * (2 * draws.uniform(2, height, columns) - 1)
    displacements = gaussian_filter(displacements, (0, 0, sigma, sigma), mode="reflect", truncate=3)
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(columns), indexing="ij"))
    bent = np.empty_like(images)
    for number, image in enumerate(images):
        matrix, offset = affine_map(moved[number], corners)
        places = np.tensordot(matrix, grid + displacements[number], axes=1) + offset[:, None, None]
        for channel, values in enumerate(image):
            bent[number, channel] = map_coordinates(values, places, order=1, mode="reflect")
    return bent


def affine_map(before: Array, after: Array) -> tuple[Array, Array]:
    """Return the matrix ``(2, 2)`` and offset ``(2,)`` that map three points to three others."""
    homogeneous = np.concatenate([before, np.ones((3, 1))], axis=1)
    solution = np.linalg.solve(homogeneous, after)
    return solution[:2].T, solution[2]


def pixelate(images: Array, draws: Draws, share: float) -> Array:
    """Return the images at a share of their resolution, each pixel of it a square of one colour."""
    rows = _coarsening(images.shape[2], share)
    columns = _coarsening(images.shape[3], share)
    result: Array = rows @ images @ columns.T
    return result


def _coarsening(size: int, share: float) -> Array:
    """Return the matrix ``(size, size)`` that averages a line over fewer pixels and repeats them."""
    fewer = max(int(size * share), 1)
    edges = np.arange(fewer + 1) * size / fewer
    pixels = np.arange(size)
    overlaps = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    averages = np.maximum(overlaps, 0) * fewer / size
    nearest = ((pixels + 0.5) * fewer / size).astype(int)
    matrix: Array = averages[nearest]
    return matrix


def jpeg(images: Array, draws: Draws, quality: float) -> Array:
    """Return the images after JPEG of this quality, as the installed library compresses."""
    levels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    compressed = np.empty_like(images)
    for number, image in enumerate(levels):
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(quality))
        with Image.open(file) as reopened:
            pixels = np.asarray(reopened, dtype=np.float64) / 255
        compressed[number] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return compressed
