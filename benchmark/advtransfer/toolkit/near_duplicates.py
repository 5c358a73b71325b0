"""Near-duplicates of images.

Two images are near-duplicates when one is the other shifted by a pixel, or changed no more than
JPEG changes it: at the best of a few shifts, their brightness differs by no more than a small
multiple of the change that JPEG at quality 75 makes to one of them (root mean square over the
pixels that both have). The JPEG error is computed without an encoder, by rounding cosine
coefficients.

The search misses no pair except in its last step. An orthonormal transform cut to its low
frequencies never lengthens a difference, so two images that are too far apart in their low
frequencies are too far apart altogether. Of the remaining pairs, the `CANDIDATES_PER_BLOCK` closest
in each block of `BLOCK_IMAGES` images are compared pixel by pixel. Memory is bounded: 65 numbers
for each image of the first set, and one chunk of images.
"""

from __future__ import annotations

import itertools
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
    """Return how much JPEG changes grey images, as a root mean square ``(B,)`` in grey levels.

    Blocks of 8 x 8 pixels are transformed by the DCT-II, rounded to multiples of the standard's
    luminance table, scaled as the IJG library scales it, and transformed back.

    Args:
        luma: The images ``(B, H, W)``, from 0 to 255.
        quality: The JPEG quality, from 1 to 100.
    """
    height, width = luma.shape[1:]
    side = JPEG_BLOCK_SIDE
    padding = (0, -width % side, 0, -height % side)
    padded = functional.pad(luma[:, None], padding, mode="replicate")[:, 0]
    # JPEG transforms levels around 0 (ITU-T T.81, A.3.1), hence the shift by 128.
    centred = padded - 128
    rows = centred.shape[1] // side
    columns = centred.shape[2] // side
    blocks = centred.reshape(-1, rows, side, columns, side).transpose(2, 3)
    basis = cosine_basis(side, side)
    steps = _quantization_steps(quality)
    coefficients = torch.round(basis @ blocks @ basis.T / steps) * steps
    decoded_blocks = basis.T @ coefficients @ basis
    decoded = decoded_blocks.transpose(2, 3).reshape(centred.shape)[:, :height, :width] + 128
    return (decoded.clamp(0, 255) - luma).square().mean((1, 2)).sqrt()


def cosine_basis(count: int, length: int) -> Tensor:
    """Return the lowest frequencies of the orthonormal DCT-II as rows ``(count, length)``."""
    frequencies = torch.arange(count)[:, None]
    angles = math.pi * (2 * torch.arange(length) + 1) * frequencies / (2 * length)
    basis = torch.cos(angles) * math.sqrt(2 / length)
    basis[0] /= math.sqrt(2)
    return basis


def _quantization_steps(quality: int) -> Tensor:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(LUMINANCE_TABLE).reshape(JPEG_BLOCK_SIDE, JPEG_BLOCK_SIDE)
    return ((table * scale + 50) // 100).clamp(1, 255).float()


KEPT_FREQUENCIES = 8
BLOCK_IMAGES = 4096
CANDIDATES_PER_BLOCK = 8
CHUNK_ROWS = 512
CHUNK_BYTES = 2**25
ROUNDING_ERROR = 0.5
"""The error in grey levels that rounding to 8 bits may cause."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Brightness of red, green and blue by ITU-R BT.601, as JPEG computes it."""

MAX_RELATIVE_DISTANCE = 1.01
"""The limit on low-frequency distances; above 1, since float32 may lengthen a small difference."""


@dataclass(frozen=True, slots=True)
class NearDuplicateRule:
    """The rule by which two images are near-duplicates.

    Images that differ in colour alone are near-duplicates. Images of different sizes are compared
    at the smaller height and width: a shrunk copy is found, an enlarged copy only where enlarging
    did not blur it.

    Args:
        shift: The largest shift between the two, in pixels along each side.
        quality: The JPEG quality whose error is the unit of `multiple`.
        multiple: The largest difference, in such errors. Measured on 10,000 training and 2,000 test
            images each of MNIST, Fashion-MNIST and CIFAR-10: saving at quality 75 and above changes
            no image by more than 1.1 errors, and no test image is closer than 2.2 to a training
            image. At 1.5 all of MNIST has no near-duplicate and all of Fashion-MNIST 12, each the
            same photograph of a garment in both parts.
    """

    shift: int = 1
    quality: int = 75
    multiple: float = 1.5

    def tolerance(self, luma: Tensor) -> Tensor:
        """Return the difference ``(B,)`` that each of the images ``(B, H, W)`` allows."""
        return self.multiple * jpeg_error(luma, quality=self.quality).clamp(min=ROUNDING_ERROR)


@dataclass(frozen=True, slots=True)
class GrayscaleView:
    """Images as brightness from 0 to 255 at one size.

    Args:
        size: Height and width.
        is_weighted: Weight the colours as the eye does, instead of taking their mean.
    """

    size: tuple[int, int]
    is_weighted: bool

    @classmethod
    def shared_by(cls, a: DataCard, b: DataCard) -> GrayscaleView:
        """Return the view in which images of both cards can be compared."""
        height = min(a.shape[1], b.shape[1])
        width = min(a.shape[2], b.shape[2])
        # A grey set beside a coloured one is a view of it, and views take the mean over channels.
        return cls((height, width), a.shape[0] == b.shape[0] == 3)

    def __call__(self, samples: Samples, positions: Tensor) -> Tensor:
        """Return the brightness ``(B, *size)`` of the samples at the positions ``(B,)``."""
        levels = pixel_levels(samples.inputs(positions), samples.card)
        luma = _weighted_luma(levels) if self.is_weighted else levels.mean(1)
        if luma.shape[1:] != self.size:
            images = luma[:, None]
            resized = functional.interpolate(images, self.size, mode="bilinear", antialias=True)
            luma = resized[:, 0]
        return luma


@dataclass(frozen=True, slots=True)
class NearDuplicateSearch:
    """A search for near-duplicates in a set of images.

    Args:
        samples: The set that is searched.
        grayscale: The view in which images are compared.
        rule: The rule by which two images are near-duplicates.
        margin: The pixels cut off along each side, so that shifted images overlap.
        low_frequencies: ``(N, F)``, of each image without its margin.
        tolerances: ``(N,)``, the difference that each image allows.
    """

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
        """Return the search in `samples` for near-duplicates of `others`."""
        grayscale = GrayscaleView.shared_by(samples.card, others.card)
        margin = min(likeness.shift, (min(grayscale.size) - 1) // 2)
        low_frequencies: list[Tensor] = []
        tolerances: list[Tensor] = []
        for positions in position_chunks(torch.arange(len(samples)), samples.card):
            luma = grayscale(samples, positions)
            low_frequencies.append(_low_frequencies(_shifted_window(luma, margin, (0, 0))))
            tolerances.append(likeness.tolerance(luma))
        return cls(
            samples, grayscale, likeness, margin, torch.cat(low_frequencies), torch.cat(tolerances)
        )

    def find_matches(self, luma: Tensor) -> dict[int, int]:
        """Return the position of the closest near-duplicate for each row that has one.

        Args:
            luma: Images ``(B, H, W)`` in the search's grayscale view.
        """
        tolerances = self.rule.tolerance(luma)
        shifted = [
            _low_frequencies(_shifted_window(luma, self.margin, shift))
            for shift in self._all_shifts()
        ]
        best: dict[int, tuple[float, int]] = {}
        for start in range(0, len(self.low_frequencies), BLOCK_IMAGES):
            for row, position in self._candidate_pairs(shifted, tolerances, start):
                difference = self._relative_difference(luma[row], position, float(tolerances[row]))
                # Of equally close images the first one counts.
                if difference <= 1:
                    candidate = (difference, position)
                    best[row] = min(best.get(row, candidate), candidate)
        return {row: position for row, (_, position) in best.items()}

    def _candidate_pairs(
        self, shifted: list[Tensor], tolerances: Tensor, start: int
    ) -> Iterator[tuple[int, int]]:
        """Yield (row, position) pairs of one block that are near in their low frequencies.

        Args:
            shifted: For each shift the low frequencies ``(B, F)`` of the rows.
            tolerances: ``(B,)``, of the rows.
            start: The position at which the block begins.
        """
        block = self.low_frequencies[start : start + BLOCK_IMAGES]
        distances = torch.full((len(tolerances), len(block)), torch.inf)
        for rows in shifted:
            # By matrix products, whose rounding MAX_RELATIVE_DISTANCE allows for.
            to_block = torch.cdist(rows, block, compute_mode="use_mm_for_euclid_dist")
            torch.minimum(distances, to_block, out=distances)
        height, width = (side - 2 * self.margin for side in self.grayscale.size)
        block_tolerances = self.tolerances[start : start + BLOCK_IMAGES]
        # Tolerances are root mean squares and distances are not, hence the root of the pixel count.
        allowed = torch.maximum(tolerances[:, None], block_tolerances) * (height * width) ** 0.5
        closest = (distances / allowed).topk(min(CANDIDATES_PER_BLOCK, len(block)), largest=False)
        for row, rank in (closest.values <= MAX_RELATIVE_DISTANCE).nonzero().tolist():
            yield row, start + int(closest.indices[row, rank])

    def _relative_difference(self, luma: Tensor, position: int, tolerance: float) -> float:
        """Return the difference at the best shift, relative to the larger tolerance.

        Args:
            luma: One image ``(H, W)``.
            position: The position of the other image in the searched set.
            tolerance: The difference that the first image allows.
        """
        other = self.grayscale(self.samples, torch.tensor([position]))
        other_window = _shifted_window(other, self.margin, (0, 0))
        windows = torch.cat(
            [_shifted_window(luma[None], self.margin, shift) for shift in self._all_shifts()]
        )
        differences = (windows - other_window).square().mean((1, 2)).sqrt()
        return float(differences.min()) / max(tolerance, float(self.tolerances[position]))

    def _all_shifts(self) -> list[tuple[int, int]]:
        steps = range(-self.margin, self.margin + 1)
        return list(itertools.product(steps, steps))


def is_image(card: DataCard) -> bool:
    """Return True if samples are images ``(C, H, W)`` of bounded pixels."""
    return len(card.shape) == 3 and card.bounds is not None


def pixel_levels(inputs: Tensor, card: DataCard) -> Tensor:
    """Return pixels as whole numbers from 0 to 255."""
    low, high = card.bounds or (0.0, 1.0)
    return ((inputs - low) * (255 / (high - low))).round()


def position_chunks(positions: Tensor, card: DataCard) -> Iterator[Tensor]:
    """Return an iterator over chunks of the positions whose samples fit into `CHUNK_BYTES`."""
    sample_bytes = 4 * torch.Size(card.shape).numel()
    rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // sample_bytes))
    return (chunk for chunk in torch.split(positions, rows) if len(chunk))


def _weighted_luma(levels: Tensor) -> Tensor:
    """Return the brightness ``(B, H, W)`` of colour images ``(B, 3, H, W)``."""
    return (levels * torch.tensor(LUMA_WEIGHTS)[:, None, None]).sum(1)


def _shifted_window(luma: Tensor, margin: int, shift: tuple[int, int]) -> Tensor:
    """Return images ``(B, H, W)`` moved back by a shift, without a margin along each side."""
    height, width = luma.shape[1:]
    down, right = shift
    return luma[:, margin + down : height - margin + down, margin + right : width - margin + right]


def _low_frequencies(windows: Tensor) -> Tensor:
    """Return the lowest frequencies ``(B, F)`` of windows ``(B, H, W)``.

    Distances between them are at most the distances between the windows.
    """
    height, width = windows.shape[1:]
    vertical = cosine_basis(min(KEPT_FREQUENCIES, height), height)
    horizontal = cosine_basis(min(KEPT_FREQUENCIES, width), width)
    return (vertical @ windows @ horizontal.T).flatten(1)
