"""Image files as squares of pixels.

Headers checked before anything is trained, images decoded on demand.
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
"""What a file may hold, whatever its name is; Pillow hands others to programs such as Ghostscript."""
EIGHT_BIT_MODES = {
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "La",
    "RGBa",
}

RESTORE_FILE = "restore the file, or remove it and plan again"


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
            return (
                image if image.size == square else image.resize(square, Image.Resampling.BILINEAR)
            )
        width, height = image.size
        short = min(width, height)
        size = (self.short_side * width // short, self.short_side * height // short)
        resized = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
        left, top = (round((side - self.pixels) / 2) for side in size)
        return resized.crop((left, top, left + self.pixels, top + self.pixels))


def decode_image(path: Path, framing: Framing) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The image in a file, framed: ``(3, pixels, pixels)`` uint8, red first.

    Raises:
        BadInput: The file is not an image of 8 bits a channel, or it is damaged.
    """
    with open_image(path) as image:
        check_size(path, image.size, framing)
        rgb = np.asarray(framing(image.convert("RGB")))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The first frame of an image file, not yet decoded; whatever goes wrong inside is said of the file.

    Raises:
        BadInput: The file is not an image of 8 bits a channel, or it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", module=r"PIL\."
            )  # remarks on metadata and palettes, without a file's name
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                if image.mode not in EIGHT_BIT_MODES:
                    found, next_step = (
                        f"{str(path)!r} with pixels of mode {image.mode!r}",
                        "convert it to 8 bits",
                    )
                    raise data_error(found, expected="8 bits a channel", next_step=next_step)
                yield image
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise _size_error(path, f"of more than {_max_pixels():,} pixels") from error
    except UnidentifiedImageError as error:
        expected = f"an image ({', '.join(IMAGE_FORMATS)})"
        raise data_error(
            f"{str(path)!r}, which holds no image", expected=expected, next_step=RESTORE_FILE
        ) from error
    except Exception as error:  # Pillow raises whatever its parsing of a damaged file runs into
        found = f"{str(path)!r}, which cannot be decoded ({error})"
        raise data_error(found, expected="an image", next_step=RESTORE_FILE) from error


def check_size(path: Path, size: tuple[int, int], framing: Framing) -> None:
    """Refuse a strip that would be enormous when its short side is resized.

    Raises:
        BadInput: It would be larger than the largest image that Pillow opens.
    """
    larger = framing.short_side**2 * max(size) // min(size)
    if framing.fit == "crop" and larger > _max_pixels():
        raise _size_error(
            path, f"of {size[0]} x {size[1]} pixels, which would become {larger:,} pixels"
        )


def _max_pixels() -> float:
    """The largest image that Pillow opens: twice the size from which on it warns."""
    return math.inf if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def _size_error(path: Path, size: str) -> BadInput:
    expected = f"at most {_max_pixels():,}"
    return data_error(
        f"{str(path)!r}, an image {size}",
        expected=expected,
        next_step="make it smaller, or remove it",
    )


MAX_PROBLEMS = 10
"""Files that are told by name; of more, only the count is."""


def check_headers(folder: Path, names: Sequence[str], framing: Framing) -> None:
    """Refuse files that are no images of 8 bits a channel; files that were found in order are not opened again.

    Damage behind the header is found when an image is decoded.

    Raises:
        BadInput: There are such files; names the first of them.
    """

    def read() -> str:
        problems = [
            problem for name in names for problem in _header_problems(folder / name, framing)
        ]
        if len(problems) > MAX_PROBLEMS:
            more = f"{len(problems) - MAX_PROBLEMS} more files of {str(folder)!r} that are no such images"
            problems[MAX_PROBLEMS:] = [
                Problem(more, "images of 8 bits a channel", "remove or convert them")
            ]
        if problems:
            raise BadInput(problems)
        return "images"

    what = f"image headers 1 ({', '.join(IMAGE_FORMATS)}; {framing}) below {folder.absolute()}"
    cached_while_unchanged(what, (folder / name for name in names), read)


def _header_problems(path: Path, framing: Framing) -> tuple[Problem, ...]:
    try:
        with open_image(path) as image:
            check_size(path, image.size, framing)
            return ()
    except BadInput as error:
        return error.problems


DECODED_CACHE_BYTES = 128 * 2**20
"""How much of a part is kept decoded: small subsets are decoded once, large ones never fill the memory."""


@dataclass(frozen=True)
class ImageFiles:
    """`Samples` over image files: ``(3, pixels, pixels)``, decoded when asked for, the last used kept as uint8.

    Args:
        card: What they are; its shape must be that of the framing.
        folder: What `names` are relative to.
        names: One file a sample.
        targets: ``(N,)`` int64 classes.
        framing: How a file becomes a square.
    """

    card: DataCard
    folder: Path
    names: Sequence[str]
    targets: Tensor
    framing: Framing
    _kept: _lru_cache_wrapper[Pixels] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        most = max(1, DECODED_CACHE_BYTES // (3 * self.framing.pixels**2))
        object.__setattr__(self, "_kept", lru_cache(maxsize=most)(self._decode_position))

    @property
    def keys(self) -> Sequence[int]:
        """The place in the order of names."""
        return range(len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, 3, pixels, pixels)`` float32 in [0, 1]."""
        if not len(positions):
            return torch.empty(0, *self.card.shape)
        images = np.stack([self._kept(position) for position in positions.tolist()])
        return torch.from_numpy(images).float() / 255

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` int64."""
        return self.targets[positions]

    def _decode_position(self, position: int) -> Pixels:
        return decode_image(self.folder / self.names[position], self.framing)
