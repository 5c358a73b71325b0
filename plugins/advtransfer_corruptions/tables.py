"""Severities of the common corruptions of Hendrycks and Dietterich (2019), by image size.

The numbers are those of the published scripts of CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C
(github.com/hendrycks/robustness). Lengths are in pixels of the sizes that they were made for: 32,
64 and 224. Does not import numpy or torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

Corruption: TypeAlias = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic",
    "pixelate",
    "jpeg",
    "speckle_noise",
    "gaussian_blur",
    "saturate",
    "spatter",
]
Table: TypeAlias = Literal["cifar", "tiny_imagenet", "imagenet"]
Parameters: TypeAlias = tuple[float, ...]
Severity: TypeAlias = Literal[1, 2, 3, 4, 5]

CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
BENCHMARK: tuple[Corruption, ...] = CORRUPTIONS[:15]
"""The 15 corruptions of the benchmark, in its order; the others are for validation."""
WITHOUT_FILES: tuple[Corruption, ...] = tuple(name for name in BENCHMARK if name != "frost")
COLOUR_ONLY: tuple[Corruption, ...] = ("saturate",)
"""Corruptions that change colours alone, which grey images do not have."""

FROST_SCALES: Mapping[Table, float] = {"cifar": 0.2, "tiny_imagenet": 0.3, "imagenet": 1.0}
"""The size to which the photographs of frost are scaled before a part is cut out."""


def table_for(size: int) -> Table:
    """Return the table whose images are nearest in size, by ratio, to images of `size` pixels."""
    # The geometric means of 32 and 64, and of 64 and 224.
    if size < 46:
        return "cifar"
    return "tiny_imagenet" if size < 120 else "imagenet"


def _scalars(*values: float) -> tuple[Parameters, ...]:
    return tuple((value,) for value in values)


_BRIGHTNESS = _scalars(0.1, 0.2, 0.3, 0.4, 0.5)
_CONTRAST = _scalars(0.4, 0.3, 0.2, 0.1, 0.05)

PARAMETERS: Mapping[Table, Mapping[Corruption, tuple[Parameters, ...]]] = {
    "cifar": {
        "gaussian_noise": _scalars(0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": _scalars(500, 250, 100, 75, 50),
        "impulse_noise": _scalars(0.01, 0.02, 0.03, 0.05, 0.07),
        "speckle_noise": _scalars(0.06, 0.1, 0.12, 0.16, 0.2),
        "gaussian_blur": _scalars(0.4, 0.6, 0.7, 0.8, 1),
        "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        "contrast": _scalars(0.75, 0.5, 0.4, 0.3, 0.15),
        "brightness": _scalars(0.05, 0.1, 0.15, 0.2, 0.3),
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        "jpeg": _scalars(80, 65, 58, 50, 40),
        "pixelate": _scalars(0.95, 0.9, 0.85, 0.75, 0.65),
        "elastic": (
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
    },
    "tiny_imagenet": {
        "gaussian_noise": _scalars(0.04, 0.08, 0.12, 0.15, 0.18),
        "shot_noise": _scalars(250, 100, 50, 30, 15),
        "impulse_noise": _scalars(0.01, 0.02, 0.05, 0.08, 0.14),
        "speckle_noise": _scalars(0.15, 0.2, 0.25, 0.3, 0.35),
        "gaussian_blur": _scalars(0.5, 0.75, 1, 1.25, 1.5),
        "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        "contrast": _CONTRAST,
        "brightness": _BRIGHTNESS,
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        "jpeg": _scalars(65, 58, 50, 40, 25),
        "pixelate": _scalars(0.9, 0.8, 0.7, 0.6, 0.5),
        "elastic": (
            (0, 0, 0.08),
            (0.05, 0.3, 0.06),
            (0.1, 0.08, 0.06),
            (0.1, 0.03, 0.03),
            (0.16, 0.03, 0.02),
        ),
    },
    "imagenet": {
        "gaussian_noise": _scalars(0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": _scalars(60, 25, 12, 5, 3),
        "impulse_noise": _scalars(0.03, 0.06, 0.09, 0.17, 0.27),
        "speckle_noise": _scalars(0.15, 0.2, 0.35, 0.45, 0.6),
        "gaussian_blur": _scalars(1, 2, 3, 4, 6),
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "snow": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "spatter": (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "contrast": _CONTRAST,
        "brightness": _BRIGHTNESS,
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "jpeg": _scalars(25, 18, 15, 10, 7),
        "pixelate": _scalars(0.6, 0.5, 0.4, 0.3, 0.25),
        # Multiples of 244 pixels in the script, where images have 224.
        "elastic": tuple(
            (strength * 244 / 224, width * 244 / 224, shift * 244 / 224)
            for strength, width, shift in (
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            )
        ),
    },
}
"""By table and corruption, the parameters of severities 1 to 5.

Noise: its scale (``shot``: photons at white; ``impulse``: the share of changed values). Glass: sigma
of the blur, reach of a swap, rounds. Defocus: radius, sigma of its edge. Motion: radius, sigma. Zoom:
end of the factors (not included) and their distance, from 1. Fog: strength, decay of its roughness.
Frost: weights of image and frost. Snow: mean and spread of the flakes, their size, threshold, motion
radius and sigma, weight of the image. Spatter: mean and spread of the liquid, its size, threshold,
strength of water or sigma of mud's edges, 1 for mud. Contrast: factor. Brightness: what is added. Saturation: factor
and what is added. JPEG: quality. Pixelate: share of the resolution. Elastic, as shares of the image's
side: strength of the displacement, sigma of its blur, largest shift of the corners.
"""
