"""Datasets and samples in memory, subsets of samples, and samples checked against the bounds on their card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.node import canonical_json, content_id
from advtransfer.types import DataCard, Json, Part, Samples

INPUT_DTYPES = (torch.uint8, torch.float32)
"""In which types inputs are held. A test of exact values may add float64, which rounding does not move."""


class ArraySamples:
    """Samples in memory.

    Args:
        card: What they are; its shape must be that of one input.
        inputs: ``(N, C, H, W)``, float32 in the card's bounds, or uint8, which is given out as float32 / 255.
        labels: ``(N,)`` int64, or ``(N, outputs)``.
        keys: A stable number for each sample; by default its position.

    Raises:
        ValueError: Sizes do not agree, or the inputs have another type.
    """

    def __init__(
        self, *, card: DataCard, inputs: Tensor, labels: Tensor, keys: Sequence[int] | None = None
    ) -> None:
        self.card = card
        self.keys: Sequence[int] = range(len(inputs)) if keys is None else tuple(keys)
        self._inputs, self._labels = inputs, labels
        if not len(inputs) == len(labels) == len(self.keys):
            found = f"{len(inputs)} inputs, {len(labels)} labels and {len(self.keys)} keys"
            raise ValueError(
                f"found {found}; expected as many of each; give one label and one key an input"
            )
        if tuple(inputs.shape[1:]) != card.shape:
            found = f"inputs of shape {tuple(inputs.shape[1:])}"
            raise ValueError(
                f"found {found}; expected {card.shape} as on the card; reshape them or change the card"
            )
        if inputs.dtype not in INPUT_DTYPES:
            raise ValueError(
                f"found inputs of type {inputs.dtype}; expected uint8 or float32; convert them"
            )

    def __len__(self) -> int:
        return len(self._inputs)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, C, H, W)`` float32."""
        chosen = self._inputs[positions]
        return chosen.float() / 255 if chosen.dtype == torch.uint8 else chosen

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` or ``(B, outputs)``."""
        return self._labels[positions]


class SampleSubset:
    """Some samples of another `Samples`, in the order of `positions` ``(M,)``; they keep their keys."""

    def __init__(self, samples: Samples, positions: Tensor) -> None:
        self._samples, self._positions = samples, positions
        self.card = samples.card
        self.keys: Sequence[int] = tuple(samples.keys[position] for position in positions.tolist())

    def __len__(self) -> int:
        return len(self._positions)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, *shape)`` float32."""
        return self._samples.inputs(self._positions[positions])

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` or ``(B, outputs)``."""
        return self._samples.labels(self._positions[positions])


class ArrayDataset:
    """A `Dataset` of images with class labels whose parts are in memory.

    Args:
        parts: For each part its inputs ``(N, C, H, W)`` and labels ``(N,)``; all of one shape.
        names: The classes' names; label ``k`` is class ``names[k]``.
        bounds: The smallest and the largest value an input may take.
    """

    def __init__(
        self,
        parts: Mapping[Part, tuple[Tensor, Tensor]],
        *,
        names: Sequence[str],
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        shape = tuple(next(iter(parts.values()))[0].shape[1:])
        contents: dict[str, Json] = {
            part: content_digest(inputs, labels, names) for part, (inputs, labels) in parts.items()
        }
        self._card = DataCard(
            shape,
            bounds,
            "classes",
            len(names),
            tuple(names),
            content_id(contents),
        )
        self._parts = {
            part: ArraySamples(card=self._card, inputs=x, labels=y)
            for part, (x, y) in parts.items()
        }

    def card(self) -> DataCard:
        """What it is; the digest is that of every part."""
        return self._card

    def part(self, name: Part) -> Samples:
        """The part; a ValueError that lists the parts there are when this one is not."""
        if name not in self._parts:
            raise ValueError(
                f"found part {name!r}; expected one of {sorted(self._parts)}; ask for one of these"
            )
        return self._parts[name]


def all_positions(samples: Samples) -> Tensor:
    """The positions of all samples, ``(N,)`` int64."""
    return torch.arange(len(samples))


def content_digest(inputs: Tensor, labels: Tensor, names: Sequence[str]) -> str:
    """The sha256 of pixels and labels as stored, in their order, and of the classes' names."""
    content = hashlib.sha256(canonical_json(list(names)).encode())
    for tensor in (inputs, labels):
        array = tensor.detach().cpu().contiguous().numpy()
        content.update(canonical_json([str(array.dtype), list(array.shape)]).encode())
        content.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return content.hexdigest()


@dataclass(frozen=True, slots=True)
class BoundedSamples:
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
                found, expected = (
                    f"pixels from {least.item():g} to {most.item():g}",
                    f"{low:g} to {high:g}",
                )
                raise ValueError(
                    f"found {found}; expected {expected}, the bounds on the card; correct the data set"
                )
        return inputs

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` or ``(B, outputs)``, as they are."""
        return self.samples.labels(positions)


def require_unit_bounds(samples: Samples) -> BoundedSamples:
    """Samples held to [0, 1], the bounds in which the eps of the literature counts.

    Raises:
        ValueError: The card states other bounds, or none.
    """
    if samples.card.bounds != (0.0, 1.0):
        found = f"images with bounds {samples.card.bounds}"
        raise ValueError(
            f"found {found}; expected (0.0, 1.0), in which eps counts; rescale the data set"
        )
    return BoundedSamples(samples)
