"""Corrupt a batch of images: the corruptions by name, and the photographs that frost is cut from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advtransfer.types import Context, Folder
from advtransfer_corruptions import blurs, digital, noise, spatter, weather
from advtransfer_corruptions.draws import Array, Draws
from advtransfer_corruptions.tables import (
    FROST_SCALES,
    PARAMETERS,
    Corruption,
    Severity,
    Table,
)

FUNCTIONS: Mapping[Corruption, Callable[..., Array]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blurs.gaussian_blur,
    "defocus_blur": blurs.defocus_blur,
    "glass_blur": blurs.glass_blur,
    "motion_blur": blurs.motion_blur,
    "zoom_blur": blurs.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg": digital.jpeg,
    "saturate": digital.saturate,
    "spatter": spatter.spatter,
}


@dataclass(frozen=True, slots=True)
class Corruptor:
    """Corrupts images by one table.

    Args:
        table: The table of the severities.
        seed: Seed of the random numbers.
        photographs: The photographs of frost, ``(C, H, W)`` each.
    """

    table: Table
    seed: int
    photographs: Sequence[Array] = ()

    def corrupt(
        self,
        images: Tensor,
        keys: Sequence[int],
        *,
        corruption: Corruption,
        severity: Severity,
        context: Context,
    ) -> Tensor:
        """Return the corrupted images ``(B, C, H, W)`` float32, rounded to 8 bits as if stored.

        An image's result depends on the seed, its key, the corruption and the severity only.

        Args:
            images: Images in [0, 1] of one or three channels.
            keys: Keys of the samples.
            corruption: The name of the corruption.
            severity: From 1 to 5.
            context: Random streams.
        """
        draws = Draws(context, f"corruption {self.seed} {corruption}", keys)
        function = FUNCTIONS[corruption]
        if corruption == "frost":
            function = partial(function, photographs=self.photographs)
        parameters = PARAMETERS[self.table][corruption][severity - 1]
        corrupted = function(images.double().numpy(), draws, *parameters)
        levels = np.rint(np.clip(corrupted, 0, 1) * 255) / 255
        return torch.from_numpy(levels.astype(np.float32))


def load_photographs(folder: Folder, *, table: Table, size: tuple[int, int]) -> list[Array]:
    """Return photographs of frost in [0, 1], ``(3, H, W)``, scaled as for the table.

    Raises:
        ValueError: A file is not an image, or is smaller than the images after scaling; or there is
            no file.
    """
    paths = sorted(path for path in folder.path.iterdir() if path.is_file())
    if not paths:
        raise ValueError(
            f"found no file in {folder.path.name}; expected photographs of frost; add some"
        )
    return [_load_photograph(path, FROST_SCALES[table], size) for path in paths]


def _load_photograph(path: Path, scale: float, size: tuple[int, int]) -> Array:
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise ValueError(
            f"found {path.name}, which is no image ({error}); name an image"
        ) from error
    width = round(picture.width * scale)
    height = round(picture.height * scale)
    if height < size[0] or width < size[1]:
        found = (
            f"{path.name} of {picture.height} x {picture.width} pixels, {height} x {width} scaled"
        )
        raise ValueError(
            f"found {found}; expected at least {size[0]} x {size[1]}; name a larger photograph"
        )
    scaled = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels: Array = np.asarray(scaled, dtype=np.float64).transpose(2, 0, 1) / 255
    return pixels
