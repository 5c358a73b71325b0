"""Image files as squares of pixels: decoded, resized, cropped as ImageNet is for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from advtransfer_vision.faults import fault

EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa"}


@dataclass(frozen=True, slots=True)
class Framing:
    """How an image becomes a square of `pixels`.

    Args:
        pixels: Height and width of what comes out.
        fit: ``crop``: the short side is resized to `short_side` and the centre is cut out; ``square``: both sides are
            resized to `pixels`, whatever the proportions. Bilinear with antialiasing, in 8 bits, as Pillow does it.
        short_side: For ``crop``.
    """

    pixels: int
    fit: Literal["crop", "square"]
    short_side: int

    def __call__(self, image: Image.Image) -> Image.Image:
        """The square."""
        square = self.pixels, self.pixels
        if self.fit == "square":
            return image if image.size == square else image.resize(square, Image.Resampling.BILINEAR)
        width, height = image.size
        short = min(width, height)
        size = (self.short_side * width // short, self.short_side * height // short)
        resized = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
        left, top = (round((side - self.pixels) / 2) for side in size)
        return resized.crop((left, top, left + self.pixels, top + self.pixels))


def decoded(path: Path, framing: Framing) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The image in a file, framed: ``(3, pixels, pixels)`` uint8, red first.

    Raises:
        BadInput: The file is not an image of 8 bits a channel, or it is damaged.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in EIGHT_BIT:
                found, next_step = f"{str(path)!r} with pixels of mode {image.mode!r}", "convert it to 8 bits"
                raise fault(found, expected="8 bits a channel", next_step=next_step)
            rgb = np.asarray(framing(image.convert("RGB")))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        next_step = "restore the file, or remove it and plan again"
        raise fault(
            f"{str(path)!r}, which cannot be decoded ({error})", expected="an image", next_step=next_step
        ) from error
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))
