"""Images in [0, 1], checked as they are read: eps means nothing elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.types import DataCard, Samples


@dataclass(frozen=True, slots=True)
class Boxed:
    """Samples whose pixels are held to [0, 1].

    Raises:
        ValueError: The card states other bounds, or (when read) a pixel lies outside them or is NaN.
    """

    samples: Samples

    def __post_init__(self) -> None:
        if self.card.bounds != (0.0, 1.0):
            found = f"images with bounds {self.card.bounds}"
            raise ValueError(f"found {found}; expected (0.0, 1.0), in which eps counts; rescale the data set")

    @property
    def card(self) -> DataCard:
        """The card of the samples."""
        return self.samples.card

    @property
    def keys(self) -> Sequence[int]:
        """The keys of the samples."""
        return self.samples.keys

    def __len__(self) -> int:
        return len(self.samples)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, C, H, W)`` float32 in [0, 1]."""
        images = self.samples.inputs(positions)
        low, high = torch.aminmax(images)
        if not (low >= 0 and high <= 1):
            found = f"pixels from {low.item():g} to {high.item():g}"
            raise ValueError(f"found {found}; expected 0 to 1, the bounds on the card; correct the data set")
        return images

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` int64."""
        return self.samples.labels(positions)
