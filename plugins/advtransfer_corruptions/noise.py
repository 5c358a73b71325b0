"""Noise on each pixel. Images are ``(B, C, H, W)`` float64 in [0, 1]; results may leave [0, 1]."""

from __future__ import annotations

import numpy as np
from scipy.special import pdtr, pdtrik

from advtransfer_corruptions.draws import Array, Draws


def gaussian_noise(images: Array, draws: Draws, scale: float) -> Array:
    """Return the images plus normal noise of this standard deviation."""
    return images + scale * draws.normal(*images.shape[1:])


def speckle_noise(images: Array, draws: Draws, scale: float) -> Array:
    """Return the images plus normal noise that is proportional to the pixel."""
    return images + images * scale * draws.normal(*images.shape[1:])


def shot_noise(images: Array, draws: Draws, photons: float) -> Array:
    """Return Poisson numbers of photons, of which a white pixel has this many on average."""
    means = images * photons
    shares = draws.uniform(*images.shape[1:]) + 2.0**-25
    # The smallest count whose distribution function reaches the share: rounding in its inverse may
    # give one too many.
    counts = np.ceil(pdtrik(shares, np.maximum(means, 1e-9)))
    fewer = np.maximum(counts - 1, 0)
    counts = np.where(pdtr(fewer, means) >= shares, fewer, counts)
    result: Array = np.where(means > 0, counts, 0) / photons
    return result


def impulse_noise(images: Array, draws: Draws, share: float) -> Array:
    """Return the images with this share of the values set to black or to white."""
    numbers = draws.uniform(*images.shape[1:])
    colours = np.rint(draws.uniform(*images.shape[1:]))
    result: Array = np.where(numbers < share, colours, images)
    return result
