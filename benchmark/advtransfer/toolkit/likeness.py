"""Near-duplicates of images: the same picture shifted by a pixel, or changed no more than JPEG changes it.

Two images are near-duplicates when, at the best of a few shifts, their brightness differs by no more than a small
multiple of what JPEG at quality 75 changes in one of them (the root mean square over the pixels both have).

The search is sound but for its last step: an orthonormal transform cut to its low frequencies never lengthens a
difference, so a pair that is too far apart there is too far apart; of the rest, the `TRIED` closest in each block of
`BLOCK` images are compared pixel by pixel. Memory is bounded: 65 numbers an image of the first set, and one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit import jpeg
from advtransfer.types import DataCard, Samples

FREQUENCIES = 8
BLOCK = 4096
TRIED = 8
CHUNK_ROWS, CHUNK_BYTES = 512, 2**25
FLOOR = 0.5  # grey levels: what rounding to 8 bits may change
BRIGHTNESS = (0.299, 0.587, 0.114)  # ITU-R BT.601: what JPEG keeps apart from colour


@dataclass(frozen=True, slots=True)
class Likeness:
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
        return self.multiple * jpeg.error(luma, quality=self.quality).clamp(min=FLOOR)


@dataclass(frozen=True, slots=True)
class Brightness:
    """Images as brightness from 0 to 255 at one size: the eye's weights for colours, or their mean."""

    size: tuple[int, int]
    weighted: bool

    @classmethod
    def common(cls, a: DataCard, b: DataCard) -> Brightness:
        """That in which images of both can be compared; grey beside colour is a view, and so the mean."""
        height, width = (min(sides) for sides in zip(a.shape[1:], b.shape[1:], strict=True))
        return cls((height, width), a.shape[0] == b.shape[0] == 3)

    def __call__(self, samples: Samples, positions: Tensor) -> Tensor:
        """``(B, *size)``."""
        levels = grey_levels(samples.inputs(positions), samples.card)
        luma = (levels * torch.tensor(BRIGHTNESS)[:, None, None]).sum(1) if self.weighted else levels.mean(1)
        if luma.shape[1:] != self.size:
            luma = functional.interpolate(luma[:, None], self.size, mode="bilinear", antialias=True)[:, 0]
        return luma


@dataclass(frozen=True, slots=True)
class Search:
    """A set to look for images in: the low frequencies ``(N, F)`` of each without its margin, and its tolerance."""

    samples: Samples
    brightness: Brightness
    likeness: Likeness
    margin: int
    low: Tensor
    tolerance: Tensor

    @classmethod
    def of(cls, samples: Samples, others: Samples, likeness: Likeness) -> Search:
        """The search in `samples` for images like those of `others`."""
        brightness = Brightness.common(samples.card, others.card)
        margin = min(likeness.shift, (min(brightness.size) - 1) // 2)
        low, tolerance = [], []
        for positions in chunks(torch.arange(len(samples)), samples.card):
            luma = brightness(samples, positions)
            low.append(_low(_window(luma, margin, (0, 0))))
            tolerance.append(likeness.tolerance(luma))
        return cls(samples, brightness, likeness, margin, torch.cat(low), torch.cat(tolerance))

    def matches(self, luma: Tensor) -> dict[int, int]:
        """For each row of ``(B, H, W)`` that is nearly there, the position of the image that it is most like."""
        tolerance = self.likeness.tolerance(luma)
        low = [_low(_window(luma, self.margin, shift)) for shift in self._shifts()]
        best: dict[int, tuple[float, int]] = {}
        for start in range(0, len(self.low), BLOCK):
            for row, here in self._candidates(low, tolerance, start):
                unlike = self._compared(luma[row], here, float(tolerance[row]))
                if unlike <= 1:
                    best[row] = min(best.get(row, (unlike, here)), (unlike, here))
        return {row: here for row, (_, here) in best.items()}

    def _candidates(self, low: list[Tensor], tolerance: Tensor, start: int) -> Iterator[tuple[int, int]]:
        """Rows and positions that their low frequencies do not tell apart, the closest of one block."""
        block = self.low[start : start + BLOCK]
        apart = torch.full((len(tolerance), len(block)), torch.inf)
        for one in low:
            torch.minimum(apart, torch.cdist(one, block, compute_mode="use_mm_for_euclid_dist"), out=apart)
        height, width = (side - 2 * self.margin for side in self.brightness.size)
        allowed = torch.maximum(tolerance[:, None], self.tolerance[start : start + BLOCK]) * (height * width) ** 0.5
        closest = (apart / allowed).topk(min(TRIED, len(block)), largest=False)
        for row, place in (closest.values <= 1.01).nonzero().tolist():  # float32 may lengthen a small difference
            yield row, start + int(closest.indices[row, place])

    def _compared(self, luma: Tensor, here: int, tolerance: float) -> float:
        """How unlike an image ``(H, W)`` is to that at a position, at the best shift; up to 1 is near."""
        other = _window(self.brightness(self.samples, torch.tensor([here])), self.margin, (0, 0))
        shifted = torch.cat([_window(luma[None], self.margin, shift) for shift in self._shifts()])
        differences = (shifted - other).square().mean((1, 2)).sqrt()
        return float(differences.min()) / max(tolerance, float(self.tolerance[here]))

    def _shifts(self) -> list[tuple[int, int]]:
        steps = range(-self.margin, self.margin + 1)
        return [(down, right) for down in steps for right in steps]


def is_image(card: DataCard) -> bool:
    """Whether samples are images ``(C, H, W)`` of bounded pixels."""
    return len(card.shape) == 3 and card.bounds is not None


def grey_levels(inputs: Tensor, card: DataCard) -> Tensor:
    """Pixels as whole numbers from 0 to 255."""
    low, high = card.bounds or (0.0, 1.0)
    return ((inputs - low) * (255 / (high - low))).round()


def chunks(positions: Tensor, card: DataCard) -> Iterator[Tensor]:
    """Positions ``(B,)``, as many at once as fit into `CHUNK_BYTES`."""
    rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // (4 * torch.Size(card.shape).numel())))
    return (one for one in torch.split(positions, rows) if len(one))


def _window(luma: Tensor, margin: int, shift: tuple[int, int]) -> Tensor:
    """What is left without a margin, when the images are moved back by a shift."""
    height, width = luma.shape[1:]
    down, right = shift
    return luma[:, margin + down : height - margin + down, margin + right : width - margin + right]


def _low(window: Tensor) -> Tensor:
    """The lowest frequencies ``(B, F)``; distances between them are at most those between the windows."""
    height, width = window.shape[1:]
    down, right = jpeg.cosines(min(FREQUENCIES, height), height), jpeg.cosines(min(FREQUENCIES, width), width)
    return (down @ window @ right.T).flatten(1)
