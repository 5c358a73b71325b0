"""Image files as squares of pixels.

Headers are checked before anything is trained; images are decoded on demand.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from advtransfer.errors import BadInput, Problem
from advtransfer.toolkit.file_digests import cached_while_unchanged
from advtransfer.types import DataCard
from advtransfer_vision.data.messages import data_error

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

    Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


IMAGE_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats a file may have, whatever its name. Pillow passes some others to programs such as Ghostscript."""
GREY_MODES = {"1", "L", "LA", "La"}
PALETTE_MODES = {"P", "PA"}
COLOUR_MODES = {"RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
EIGHT_BIT_MODES = GREY_MODES | PALETTE_MODES | COLOUR_MODES
"""Pillow's modes with at most 8 bits a channel."""

RESTORE_FILE = "restore the file, or remove it and plan again"


@dataclass(frozen=True, slots=True)
class Framing:
    """The way an image becomes a square.

    Resizing is bilinear with antialiasing, in 8 bits, as Pillow does it.

    Args:
        pixels: Height and width of the square.
        fit: ``crop``: the short side is resized to `short_side` and the centre is cut out; ``square``: both sides are
            resized to `pixels`, whatever the proportions.
        short_side: Length of the short side before the crop; ``square`` does not use it.
    """

    # The repr of this class is part of a cache key (`check_headers`): keep its name and fields.

    pixels: int
    fit: Literal["crop", "square"]
    short_side: int

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image as a square of `pixels`."""
        if self.fit == "square":
            return _resize(image, (self.pixels, self.pixels))
        # Rounded as in torchvision's Resize and CenterCrop.
        width, height = image.size
        short_side = min(width, height)
        size = (self.short_side * width // short_side, self.short_side * height // short_side)
        resized = _resize(image, size)
        left = round((size[0] - self.pixels) / 2)
        top = round((size[1] - self.pixels) / 2)
        return resized.crop((left, top, left + self.pixels, top + self.pixels))


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def decode_image(path: Path, framing: Framing) -> Pixels:
    """Return the image in a file as a square, ``(3, pixels, pixels)`` uint8 RGB.

    Raises:
        BadInput: The file is not an image of 8 bits a channel, or it is damaged.
    """
    with open_image(path) as image:
        check_size(path, image.size, framing)
        rgb = np.asarray(framing(image.convert("RGB")))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file at its first frame, without decoding it.

    Errors raised in the body of the ``with`` are reported as errors of the file, since Pillow decodes on access.

    Raises:
        BadInput: The file is not an image of 8 bits a channel, or it is damaged.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's warnings are about metadata and palettes, and do not name the file.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                if image.mode not in EIGHT_BIT_MODES:
                    raise data_error(
                        f"{str(path)!r} with pixels of mode {image.mode!r}",
                        expected="8 bits a channel",
                        next_step="convert it to 8 bits",
                    )
                yield image
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        # Pillow raises this while it opens the file, before the size can be read.
        raise _size_error(path, f"of more than {_max_pixels():,} pixels") from error
    except UnidentifiedImageError as error:
        expected = f"an image ({', '.join(IMAGE_FORMATS)})"
        raise data_error(
            f"{str(path)!r}, which holds no image", expected=expected, next_step=RESTORE_FILE
        ) from error
    except Exception as error:  # Pillow lets any error of its parsers through for damaged files
        found = f"{str(path)!r}, which cannot be decoded ({error})"
        raise data_error(found, expected="an image", next_step=RESTORE_FILE) from error


def check_size(path: Path, size: tuple[int, int], framing: Framing) -> None:
    """Refuse a long strip that would become enormous when its short side is resized.

    Raises:
        BadInput: The resized image would be larger than the largest image that Pillow opens.
    """
    resized_pixels = framing.short_side**2 * max(size) // min(size)
    if framing.fit == "crop" and resized_pixels > _max_pixels():
        raise _size_error(
            path, f"of {size[0]} x {size[1]} pixels, which would become {resized_pixels:,} pixels"
        )


def _max_pixels() -> float:
    """Return the largest number of pixels that Pillow opens: twice the number at which it warns."""
    return math.inf if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def _size_error(path: Path, size: str) -> BadInput:
    return data_error(
        f"{str(path)!r}, an image {size}",
        expected=f"at most {_max_pixels():,}",
        next_step="make it smaller, or remove it",
    )


MAX_PROBLEMS = 10
"""Number of unreadable files that an error lists by name; further ones are counted."""


def check_headers(folder: Path, names: Sequence[str], framing: Framing) -> None:
    """Refuse files that are no images of 8 bits a channel, by their headers.

    Damage behind the header is reported when an image is decoded. Files that passed are not opened again while they
    are unchanged.

    Raises:
        BadInput: There are such files; names the first ones.
    """

    def check_all() -> str:
        problems: list[Problem] = []
        for name in names:
            problems += _header_problems(folder / name, framing)
        if len(problems) > MAX_PROBLEMS:
            more = f"{len(problems) - MAX_PROBLEMS} more files of {str(folder)!r} that are no such images"
            problems[MAX_PROBLEMS:] = [
                Problem(more, "images of 8 bits a channel", "remove or convert them")
            ]
        if problems:
            raise BadInput(problems)
        return "images"

    # The number is raised when the check changes, so that remembered results expire.
    cache_key = f"image headers 1 ({', '.join(IMAGE_FORMATS)}; {framing}) below {folder.absolute()}"
    cached_while_unchanged(cache_key, (folder / name for name in names), check_all)


def _header_problems(path: Path, framing: Framing) -> tuple[Problem, ...]:
    try:
        with open_image(path) as image:
            check_size(path, image.size, framing)
            return ()
    except BadInput as error:
        return error.problems


DECODED_CACHE_BYTES = 128 * 2**20
"""Size of the cache of decoded images of a part: small subsets are decoded once, large ones do not fill the memory."""


@dataclass(frozen=True)
class ImageFiles:
    """`Samples` over image files, decoded on demand; the last used images are cached as uint8.

    Args:
        card: The card of the data set; its shape is ``(3, pixels, pixels)`` of the framing.
        folder: Folder that `names` are relative to.
        names: One file name for each sample.
        targets: ``(N,)`` int64 classes.
        framing: How an image becomes a square.
    """

    card: DataCard
    folder: Path
    names: Sequence[str]
    targets: Tensor
    framing: Framing
    _decode_cached: _lru_cache_wrapper[Pixels] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        cached_images = max(1, DECODED_CACHE_BYTES // (3 * self.framing.pixels**2))
        decode_cached = lru_cache(maxsize=cached_images)(self._decode_position)
        # The dataclass is frozen, and the cache is not a value of it.
        object.__setattr__(self, "_decode_cached", decode_cached)

    @property
    def keys(self) -> Sequence[int]:
        """Position of each image in `names`."""
        return range(len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the images at `positions`, ``(B, 3, pixels, pixels)`` float32 in [0, 1]."""
        if not len(positions):
            return torch.empty(0, *self.card.shape)
        images = np.stack([self._decode_cached(position) for position in positions.tolist()])
        return torch.from_numpy(images).float() / 255

    def labels(self, positions: Tensor) -> Tensor:
        """Return the classes at `positions`, ``(B,)`` int64."""
        return self.targets[positions]

    def _decode_position(self, position: int) -> Pixels:
        return decode_image(self.folder / self.names[position], self.framing)
