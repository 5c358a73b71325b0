"""Inputs held to the bounds on their card as they are read: eps, and a box to attack in, mean nothing elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.types import DataCard, Samples


@dataclass(frozen=True, slots=True)
class Bounded:
    """Samples whose inputs are checked when they are read; all will do where the card states no bounds."""

    samples: Samples

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
        """``(B, *shape)`` float32 in the card's bounds.

        Raises:
            ValueError: A pixel lies outside them, or is NaN.
        """
        inputs = self.samples.inputs(positions)
        if self.card.bounds is not None and len(inputs):
            (least, most), (low, high) = torch.aminmax(inputs), self.card.bounds
            # written so that NaN is refused
            if not (least >= low and most <= high):
                found, expected = f"pixels from {least.item():g} to {most.item():g}", f"{low:g} to {high:g}"
                raise ValueError(f"found {found}; expected {expected}, the bounds on the card; correct the data set")
        return inputs

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` or ``(B, outputs)``, as they are."""
        return self.samples.labels(positions)


def bounded_by_unit(samples: Samples) -> Bounded:
    """Samples held to [0, 1], the bounds in which the eps of the literature counts.

    Raises:
        ValueError: The card states other bounds, or none.
    """
    if samples.card.bounds != (0.0, 1.0):
        found = f"images with bounds {samples.card.bounds}"
        raise ValueError(f"found {found}; expected (0.0, 1.0), in which eps counts; rescale the data set")
    return Bounded(samples)
