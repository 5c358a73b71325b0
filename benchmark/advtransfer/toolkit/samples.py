"""Samples held in memory, and choices among them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from advtransfer.node import canonical, digest
from advtransfer.types import DataCard, Json, Part, Samples

INPUT_TYPES = (torch.uint8, torch.float32)
"""In which types inputs are held. A test of exact values may add float64, which rounding does not move."""


class Arrays:
    """Samples in memory.

    Args:
        card: What they are; its shape must be that of one input.
        inputs: ``(N, C, H, W)``, float32 in the card's bounds, or uint8, which is given out as float32 / 255.
        labels: ``(N,)`` int64, or ``(N, outputs)``.
        keys: A stable number for each sample; by default its position.

    Raises:
        ValueError: Sizes do not agree, or the inputs have another type.
    """

    def __init__(self, *, card: DataCard, inputs: Tensor, labels: Tensor, keys: Sequence[int] | None = None) -> None:
        self.card = card
        self.keys: Sequence[int] = range(len(inputs)) if keys is None else tuple(keys)
        self._inputs, self._labels = inputs, labels
        if not len(inputs) == len(labels) == len(self.keys):
            found = f"{len(inputs)} inputs, {len(labels)} labels and {len(self.keys)} keys"
            raise ValueError(f"found {found}; expected as many of each; give one label and one key an input")
        if tuple(inputs.shape[1:]) != card.shape:
            found = f"inputs of shape {tuple(inputs.shape[1:])}"
            raise ValueError(f"found {found}; expected {card.shape} as on the card; reshape them or change the card")
        if inputs.dtype not in INPUT_TYPES:
            raise ValueError(f"found inputs of type {inputs.dtype}; expected uint8 or float32; convert them")

    def __len__(self) -> int:
        return len(self._inputs)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, C, H, W)`` float32."""
        chosen = self._inputs[positions]
        return chosen.float() / 255 if chosen.dtype == torch.uint8 else chosen

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` or ``(B, outputs)``."""
        return self._labels[positions]


class Picked:
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
        self._card = DataCard(shape, bounds, "classes", len(names), tuple(names), digest(canonical(contents)))
        self._parts = {part: Arrays(card=self._card, inputs=x, labels=y) for part, (x, y) in parts.items()}

    def card(self) -> DataCard:
        """What it is; the digest is that of every part."""
        return self._card

    def part(self, name: Part) -> Samples:
        """The part; a ValueError that lists the parts there are when this one is not."""
        if name not in self._parts:
            raise ValueError(f"found part {name!r}; expected one of {sorted(self._parts)}; ask for one of these")
        return self._parts[name]


def every(samples: Samples) -> Tensor:
    """The positions of all samples, ``(N,)`` int64."""
    return torch.arange(len(samples))


def content_digest(inputs: Tensor, labels: Tensor, names: Sequence[str]) -> str:
    """The sha256 of pixels and labels as stored, in their order, and of the classes' names."""
    content = hashlib.sha256(canonical(list(names)).encode())
    for tensor in (inputs, labels):
        array = tensor.detach().cpu().contiguous().numpy()
        content.update(canonical([str(array.dtype), list(array.shape)]).encode())
        content.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return content.hexdigest()
