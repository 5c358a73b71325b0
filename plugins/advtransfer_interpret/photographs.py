"""The user's own photographs, framed as the images of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.types import DataCard, Folder


def load_photographs(folder: Folder, card: DataCard) -> tuple[Tensor, list[str]]:
    """Return photographs as images of a data set, ``(N, C, H, W)``, and their names, sorted by file.

    The middle of each is cut out in the images' proportions and resized to them, bilinear with
    antialiasing, in grey for one channel, and scaled from [0, 1] to the card's bounds.

    Args:
        folder: The folder; every file in it is an image.
        card: The data card, of images ``(C, H, W)`` with one or three channels.

    Raises:
        Inapplicable: The images have another number of channels.
        ValueError: A file is not an image, or there is no file.
    """
    channels, height, width = card.shape
    if channels not in (1, 3):
        raise Inapplicable(
            f"photographs have one or three channels, the images of the data set {channels}"
        )
    paths = sorted(path for path in folder.path.iterdir() if path.is_file())
    if not paths:
        raise ValueError(f"found no file in {folder.path.name}; expected photographs; add some")
    mode = "L" if channels == 1 else "RGB"
    framed = [_load_photograph(path, mode, (width, height)) for path in paths]
    low, high = card.bounds or (0.0, 1.0)
    return torch.stack(framed) * (high - low) + low, [path.stem for path in paths]


def _load_photograph(path: Path, mode: str, size: tuple[int, int]) -> Tensor:
    try:
        with Image.open(path) as opened:
            # The orientation that a camera noted beside the pixels.
            picture = ImageOps.exif_transpose(opened).convert(mode)
    except OSError as error:
        raise ValueError(
            f"found {path.name}, which is no image ({error}); expected photographs alone; "
            "remove it from the folder"
        ) from error
    framed = ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(framed, dtype=np.float32) / 255)
    return pixels[None] if mode == "L" else pixels.permute(2, 0, 1)
