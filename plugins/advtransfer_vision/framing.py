"""Image files as squares of pixels: decoded, resized, cropped as ImageNet is for evaluation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from advtransfer.errors import BadInput
from advtransfer_vision.faults import fault

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may hold, whatever its name is; Pillow hands others to programs such as Ghostscript."""
EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa"}

RESTORE = "restore the file, or remove it and plan again"


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
    with opened(path) as image:
        check_size(path, image.size, framing)
        rgb = np.asarray(framing(image.convert("RGB")))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The first frame of an image file, not yet decoded; whatever goes wrong inside is said of the file.

    Raises:
        BadInput: The file is not an image of 8 bits a channel, or it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", module=r"PIL\."
            )  # remarks on metadata and palettes, without a file's name
            with Image.open(path, formats=FORMATS) as image:
                if image.mode not in EIGHT_BIT:
                    found, next_step = f"{str(path)!r} with pixels of mode {image.mode!r}", "convert it to 8 bits"
                    raise fault(found, expected="8 bits a channel", next_step=next_step)
                yield image
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, f"of more than {_most_pixels():,} pixels") from error
    except UnidentifiedImageError as error:
        expected = f"an image ({', '.join(FORMATS)})"
        raise fault(f"{str(path)!r}, which holds no image", expected=expected, next_step=RESTORE) from error
    except Exception as error:  # Pillow raises whatever its parsing of a damaged file runs into
        found = f"{str(path)!r}, which cannot be decoded ({error})"
        raise fault(found, expected="an image", next_step=RESTORE) from error


def check_size(path: Path, size: tuple[int, int], framing: Framing) -> None:
    """Refuse a strip that would be enormous when its short side is resized.

    Raises:
        BadInput: It would be larger than the largest image that Pillow opens.
    """
    larger = framing.short_side**2 * max(size) // min(size)
    if framing.fit == "crop" and larger > _most_pixels():
        raise _too_large(path, f"of {size[0]} x {size[1]} pixels, which would become {larger:,} pixels")


def _most_pixels() -> float:
    """The largest image that Pillow opens: twice the size from which on it warns."""
    return math.inf if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def _too_large(path: Path, size: str) -> BadInput:
    expected = f"at most {_most_pixels():,}"
    return fault(f"{str(path)!r}, an image {size}", expected=expected, next_step="make it smaller, or remove it")
