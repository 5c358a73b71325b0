"""How much JPEG would change an image, without an encoder: the rounding of its cosine coefficients."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 8
# fmt: off
LUMINANCE = (  # ITU-T T.81, table K.1
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
# fmt: on


def error(luma: Tensor, *, quality: int) -> Tensor:
    """The root mean square ``(B,)`` of what JPEG at a quality changes in grey images ``(B, H, W)`` from 0 to 255.

    Blocks of 8 x 8 go through the cosine transform, are rounded to multiples of the standard's luminance table scaled
    as the IJG library scales it, and come back.

    Args:
        luma: The images.
        quality: From 1 to 100.
    """
    height, width = luma.shape[1:]
    filled = functional.pad(luma[:, None], (0, -width % SIDE, 0, -height % SIDE), mode="replicate")[:, 0] - 128
    rows, columns = filled.shape[1] // SIDE, filled.shape[2] // SIDE
    blocks = filled.reshape(-1, rows, SIDE, columns, SIDE).transpose(2, 3)
    basis, steps = cosines(SIDE, SIDE), _steps(quality)
    rounded = torch.round(basis @ blocks @ basis.T / steps) * steps
    back = (basis.T @ rounded @ basis).transpose(2, 3).reshape(filled.shape)[:, :height, :width] + 128
    return (back.clamp(0, 255) - luma).square().mean((1, 2)).sqrt()


def cosines(count: int, length: int) -> Tensor:
    """The `count` lowest frequencies of the orthonormal cosine transform (DCT-II) of `length` values, as rows."""
    frequencies = torch.arange(count)[:, None]
    basis = torch.cos(math.pi * (2 * torch.arange(length) + 1) * frequencies / (2 * length)) * math.sqrt(2 / length)
    basis[0] /= math.sqrt(2)
    return basis


def _steps(quality: int) -> Tensor:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(LUMINANCE).reshape(SIDE, SIDE)
    return ((table * scale + 50) // 100).clamp(1, 255).float()
