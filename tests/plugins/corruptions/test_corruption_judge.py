"""The corruptions beside `imagecorruptions-imaug`, an independent implementation of ImageNet-C."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

EQUAL = ("gaussian_blur", "brightness", "contrast", "zoom_blur", "saturate", "jpeg")
"""Without random numbers: equal to one level of 8 bits, since the judge rounds down."""
NEAR = ("defocus_blur", "pixelate")
"""The judge's kernel and mean are rounded otherwise."""
RANDOM = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "fog",
    "spatter",
)
"""With numbers of their own: the same distance from the clean images. The judge's elastic deformation is
another one than the published images'."""


@pytest.fixture
def judge() -> Callable[..., Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imagecorruptions = pytest.importorskip(
            "imagecorruptions", reason="imagecorruptions-imaug is not installed"
        )

    def corrupt(images: Tensor, name: str, severity: int) -> Tensor:
        np.random.seed(0)  # the judge draws from NumPy's global state
        levels = (255 * images).round().byte().permute(0, 2, 3, 1).numpy()
        known = {"jpeg": "jpeg_compression"}.get(name, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            corrupted = [
                imagecorruptions.corrupt(image, corruption_name=known, severity=severity)
                for image in levels
            ]
        return torch.from_numpy(np.stack(corrupted)).permute(0, 3, 1, 2).float() / 255

    return corrupt


@pytest.mark.slow
@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", EQUAL + NEAR + RANDOM)
def test_a_corruption_is_that_of_an_independent_implementation(
    name: str,
    severity: int,
    judge: Callable[..., Tensor],
    corrupt: Callable[..., Tensor],
    pictures: Callable[..., Tensor],
) -> None:
    images = pictures(16, 3, 224, 224)
    own = corrupt(images, name, severity, table="imagenet")
    other = judge(images, name, severity)
    if name in EQUAL:
        assert (own - other).abs().max() <= 1.01 / 255
    elif name in NEAR:
        assert (own - other).abs().mean() <= 1.5 / 255
    else:
        own_distance, other_distance = (
            float((each - images).square().mean().sqrt()) for each in (own, other)
        )
        assert own_distance == pytest.approx(other_distance, rel=0.12)
