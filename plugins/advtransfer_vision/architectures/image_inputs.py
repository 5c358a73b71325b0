"""Requirements on image inputs, and their normalisation."""

from __future__ import annotations

from torch import nn

from advtransfer.toolkit.network import Normalize
from advtransfer.types import Shape


def expect_images(shape: Shape, *, network: str, smallest: int) -> None:
    """Require images of at least `smallest` pixels a side.

    Raises:
        ValueError: The inputs are not images, or smaller.
    """
    if len(shape) != 3 or min(shape[1:]) < smallest:
        expected = f"(C, H, W) with at least {smallest} x {smallest} pixels"
        raise ValueError(
            f"found inputs of shape {shape} for {network}; expected {expected}; give the data set a size"
        )


def pixel_centering() -> nn.Module:
    """Return the normalisation of pixels from [0, 1] to [-1, 1], as in Liang et al., 2020."""
    return Normalize([0.5], [0.5])
