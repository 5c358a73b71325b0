"""Near-duplicates of images.

The same picture shifted by a pixel, or changed no more than JPEG changes it.

Two images are near-duplicates when, at the best of a few shifts, their brightness differs by no more than a small
multiple of what JPEG at quality 75 changes in one of them (root mean square over the pixels that both have). The JPEG
error is computed without an encoder, by rounding cosine coefficients.

The search misses no pair but in its last step: an orthonormal transform cut to its low frequencies never lengthens a
difference, so a pair that is too far apart there is too far apart. Of the rest, the `CANDIDATES_PER_BLOCK` closest in
each block of `BLOCK_IMAGES` images are compared pixel by pixel. Memory is bounded: 65 numbers an image of the first
set, and one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.types import DataCard, Samples

JPEG_BLOCK_SIDE = 8
# fmt: off
LUMINANCE_TABLE = (  # ITU-T T.81, table K.1
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


def jpeg_error(luma: Tensor, *, quality: int) -> Tensor:
    """The root mean square ``(B,)`` of what JPEG at a quality changes in grey images ``(B, H, W)`` from 0 to 255.

    Blocks of 8 x 8 go through the cosine transform, are rounded to multiples of the standard's luminance table scaled
    as the IJG library scales it, and come back.

    Args:
        luma: The images.
        quality: From 1 to 100.
    """
    height, width = luma.shape[1:]
    filled = (
        functional.pad(
            luma[:, None],
            (0, -width % JPEG_BLOCK_SIDE, 0, -height % JPEG_BLOCK_SIDE),
            mode="replicate",
        )[:, 0]
        - 128
    )
    rows, columns = filled.shape[1] // JPEG_BLOCK_SIDE, filled.shape[2] // JPEG_BLOCK_SIDE
    blocks = filled.reshape(-1, rows, JPEG_BLOCK_SIDE, columns, JPEG_BLOCK_SIDE).transpose(2, 3)
    basis, steps = cosine_basis(JPEG_BLOCK_SIDE, JPEG_BLOCK_SIDE), _quantization_steps(quality)
    rounded = torch.round(basis @ blocks @ basis.T / steps) * steps
    back = (basis.T @ rounded @ basis).transpose(2, 3).reshape(filled.shape)[
        :, :height, :width
    ] + 128
    return (back.clamp(0, 255) - luma).square().mean((1, 2)).sqrt()


def cosine_basis(count: int, length: int) -> Tensor:
    """The `count` lowest frequencies of the orthonormal cosine transform (DCT-II) of `length` values, as rows."""
    frequencies = torch.arange(count)[:, None]
    basis = torch.cos(
        math.pi * (2 * torch.arange(length) + 1) * frequencies / (2 * length)
    ) * math.sqrt(2 / length)
    basis[0] /= math.sqrt(2)
    return basis


def _quantization_steps(quality: int) -> Tensor:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(LUMINANCE_TABLE).reshape(JPEG_BLOCK_SIDE, JPEG_BLOCK_SIDE)
    return ((table * scale + 50) // 100).clamp(1, 255).float()


KEPT_FREQUENCIES = 8
BLOCK_IMAGES = 4096
CANDIDATES_PER_BLOCK = 8
CHUNK_ROWS, CHUNK_BYTES = 512, 2**25
ROUNDING_ERROR = 0.5  # grey levels: what rounding to 8 bits may change
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601: what JPEG keeps apart from colour


@dataclass(frozen=True, slots=True)
class NearDuplicateRule:
    """When two images are near-duplicates.

    Images that differ in colour alone count as near. Images of other sizes are compared at the smaller height and
    width; an image that was shrunk is found, one that was enlarged only where that did not blur it.

    Args:
        shift: The most pixels they may be shifted by, along each side.
        quality: The JPEG quality whose error is the yardstick.
        multiple: The most that they may differ, in such errors. Measured on 10,000 training and 2,000 test images each
            of MNIST, Fashion-MNIST and CIFAR-10: saving at quality 75 and above changes no image by more than 1.1
            errors, and no test image is closer than 2.2 to a training image. At 1.5 all of MNIST has no near-duplicate
            and all of Fashion-MNIST 12, each the same photograph of a garment in both parts.
    """

    shift: int = 1
    quality: int = 75
    multiple: float = 1.5

    def tolerance(self, luma: Tensor) -> Tensor:
        """What each of ``(B, H, W)`` may differ by, ``(B,)``."""
        return self.multiple * jpeg_error(luma, quality=self.quality).clamp(min=ROUNDING_ERROR)


@dataclass(frozen=True, slots=True)
class GrayscaleView:
    """Images as brightness from 0 to 255 at one size: the eye's weights for colours, or their mean."""

    size: tuple[int, int]
    is_weighted: bool

    @classmethod
    def shared_by(cls, a: DataCard, b: DataCard) -> GrayscaleView:
        """That in which images of both can be compared; grey beside colour is a view, and so the mean."""
        height, width = (min(sides) for sides in zip(a.shape[1:], b.shape[1:], strict=True))
        return cls((height, width), a.shape[0] == b.shape[0] == 3)

    def __call__(self, samples: Samples, positions: Tensor) -> Tensor:
        """``(B, *size)``."""
        levels = pixel_levels(samples.inputs(positions), samples.card)
        luma = (
            (levels * torch.tensor(LUMA_WEIGHTS)[:, None, None]).sum(1)
            if self.is_weighted
            else levels.mean(1)
        )
        if luma.shape[1:] != self.size:
            luma = functional.interpolate(
                luma[:, None], self.size, mode="bilinear", antialias=True
            )[:, 0]
        return luma


@dataclass(frozen=True, slots=True)
class NearDuplicateSearch:
    """A set to look for images in: the low frequencies ``(N, F)`` of each without its margin, and its tolerance."""

    samples: Samples
    grayscale: GrayscaleView
    rule: NearDuplicateRule
    margin: int
    low_frequencies: Tensor
    tolerances: Tensor

    @classmethod
    def over_samples(
        cls, samples: Samples, others: Samples, likeness: NearDuplicateRule
    ) -> NearDuplicateSearch:
        """The search in `samples` for images like those of `others`."""
        brightness = GrayscaleView.shared_by(samples.card, others.card)
        margin = min(likeness.shift, (min(brightness.size) - 1) // 2)
        low, tolerance = [], []
        for positions in position_chunks(torch.arange(len(samples)), samples.card):
            luma = brightness(samples, positions)
            low.append(_low_frequencies(_shifted_window(luma, margin, (0, 0))))
            tolerance.append(likeness.tolerance(luma))
        return cls(samples, brightness, likeness, margin, torch.cat(low), torch.cat(tolerance))

    def find_matches(self, luma: Tensor) -> dict[int, int]:
        """For each row of ``(B, H, W)`` that is nearly there, the position of the image that it is most like."""
        tolerance = self.rule.tolerance(luma)
        low = [
            _low_frequencies(_shifted_window(luma, self.margin, shift))
            for shift in self._all_shifts()
        ]
        best: dict[int, tuple[float, int]] = {}
        for start in range(0, len(self.low_frequencies), BLOCK_IMAGES):
            for row, here in self._candidate_pairs(low, tolerance, start):
                unlike = self._relative_difference(luma[row], here, float(tolerance[row]))
                if unlike <= 1:
                    best[row] = min(best.get(row, (unlike, here)), (unlike, here))
        return {row: here for row, (_, here) in best.items()}

    def _candidate_pairs(
        self, low: list[Tensor], tolerance: Tensor, start: int
    ) -> Iterator[tuple[int, int]]:
        """Rows and positions that their low frequencies do not tell apart, the closest of one block."""
        block = self.low_frequencies[start : start + BLOCK_IMAGES]
        apart = torch.full((len(tolerance), len(block)), torch.inf)
        for one in low:
            torch.minimum(
                apart, torch.cdist(one, block, compute_mode="use_mm_for_euclid_dist"), out=apart
            )
        height, width = (side - 2 * self.margin for side in self.grayscale.size)
        allowed = (
            torch.maximum(tolerance[:, None], self.tolerances[start : start + BLOCK_IMAGES])
            * (height * width) ** 0.5
        )
        closest = (apart / allowed).topk(min(CANDIDATES_PER_BLOCK, len(block)), largest=False)
        for row, place in (
            (closest.values <= 1.01).nonzero().tolist()
        ):  # float32 may lengthen a small difference
            yield row, start + int(closest.indices[row, place])

    def _relative_difference(self, luma: Tensor, here: int, tolerance: float) -> float:
        """How unlike an image ``(H, W)`` is to that at a position, at the best shift; up to 1 is near."""
        other = _shifted_window(
            self.grayscale(self.samples, torch.tensor([here])), self.margin, (0, 0)
        )
        shifted = torch.cat(
            [_shifted_window(luma[None], self.margin, shift) for shift in self._all_shifts()]
        )
        differences = (shifted - other).square().mean((1, 2)).sqrt()
        return float(differences.min()) / max(tolerance, float(self.tolerances[here]))

    def _all_shifts(self) -> list[tuple[int, int]]:
        steps = range(-self.margin, self.margin + 1)
        return [(down, right) for down in steps for right in steps]


def is_image(card: DataCard) -> bool:
    """Whether samples are images ``(C, H, W)`` of bounded pixels."""
    return len(card.shape) == 3 and card.bounds is not None


def pixel_levels(inputs: Tensor, card: DataCard) -> Tensor:
    """Pixels as whole numbers from 0 to 255."""
    low, high = card.bounds or (0.0, 1.0)
    return ((inputs - low) * (255 / (high - low))).round()


def position_chunks(positions: Tensor, card: DataCard) -> Iterator[Tensor]:
    """Positions ``(B,)``, as many at once as fit into `CHUNK_BYTES`."""
    rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // (4 * torch.Size(card.shape).numel())))
    return (one for one in torch.split(positions, rows) if len(one))


def _shifted_window(luma: Tensor, margin: int, shift: tuple[int, int]) -> Tensor:
    """What is left without a margin, when the images are moved back by a shift."""
    height, width = luma.shape[1:]
    down, right = shift
    return luma[:, margin + down : height - margin + down, margin + right : width - margin + right]


def _low_frequencies(window: Tensor) -> Tensor:
    """The lowest frequencies ``(B, F)``; distances between them are at most those between the windows."""
    height, width = window.shape[1:]
    down, right = (
        cosine_basis(min(KEPT_FREQUENCIES, height), height),
        cosine_basis(min(KEPT_FREQUENCIES, width), width),
    )
    return (down @ window @ right.T).flatten(1)
