"""Datasets and samples in memory, subsets of samples, and samples checked against their bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.node import canonical_json, content_id
from advtransfer.types import DataCard, Json, Part, Samples, Task

INPUT_DTYPES = (torch.uint8, torch.float32)
"""The types in which inputs may be stored. A test of exact values may add float64."""


class ArraySamples:
    """Samples in memory.

    Args:
        card: The card; its shape must be that of one input.
        inputs: ``(N, C, H, W)``, float32 in the card's bounds, or uint8, which is returned as
            float32 divided by 255.
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
        self._inputs = inputs
        self._labels = labels
        if not len(inputs) == len(labels) == len(self.keys):
            found = f"{len(inputs)} inputs, {len(labels)} labels and {len(self.keys)} keys"
            raise ValueError(
                f"found {found}; expected as many of each; give one label and one key an input"
            )
        if tuple(inputs.shape[1:]) != card.shape:
            found = f"inputs of shape {tuple(inputs.shape[1:])}"
            expected = f"{card.shape} as on the card"
            raise ValueError(f"found {found}; expected {expected}; reshape them or change the card")
        if inputs.dtype not in INPUT_DTYPES:
            raise ValueError(
                f"found inputs of type {inputs.dtype}; expected uint8 or float32; convert them"
            )

    def __len__(self) -> int:
        return len(self._inputs)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the inputs ``(B, C, H, W)`` float32 at the positions ``(B,)``."""
        inputs = self._inputs[positions]
        return inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels ``(B,)`` or ``(B, outputs)`` at the positions ``(B,)``."""
        return self._labels[positions]


class SampleSubset:
    """A subset of another `Samples`, in the order of `positions` ``(M,)``, with the same keys."""

    def __init__(self, samples: Samples, positions: Tensor) -> None:
        self._samples = samples
        self._positions = positions
        self.card = samples.card
        self.keys: Sequence[int] = tuple(samples.keys[position] for position in positions.tolist())

    def __len__(self) -> int:
        return len(self._positions)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the inputs ``(B, *shape)`` float32 at the positions ``(B,)`` of the subset."""
        return self._samples.inputs(self._positions[positions])

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels ``(B,)`` or ``(B, outputs)`` at positions ``(B,)`` of the subset."""
        return self._samples.labels(self._positions[positions])


class ArrayDataset:
    """A `Dataset` of images whose parts are in memory.

    Args:
        parts: The inputs ``(N, C, H, W)`` and labels ``(N,)`` (``(N, K)`` of another task than
            classes) of each part; all of one shape.
        names: The names of the classes, attributes or values; label ``k`` is class ``names[k]``.
        bounds: The smallest and the largest value of an input.
        task: The kind of labels.
    """

    def __init__(
        self,
        parts: Mapping[Part, tuple[Tensor, Tensor]],
        *,
        names: Sequence[str],
        bounds: tuple[float, float] = (0.0, 1.0),
        task: Task = "classes",
    ) -> None:
        first_inputs, _ = next(iter(parts.values()))
        contents: dict[str, Json] = {
            part: content_digest(inputs, labels, names) for part, (inputs, labels) in parts.items()
        }
        self._card = DataCard(
            tuple(first_inputs.shape[1:]),
            bounds,
            task,
            len(names),
            tuple(names),
            content_id(contents),
        )
        self._parts = {
            part: ArraySamples(card=self._card, inputs=inputs, labels=labels)
            for part, (inputs, labels) in parts.items()
        }

    def card(self) -> DataCard:
        """Return the card; its digest covers every part."""
        return self._card

    def part(self, name: Part) -> Samples:
        """Return the samples of a part.

        Raises:
            ValueError: There is no such part; lists the parts.
        """
        if name not in self._parts:
            expected = f"one of {sorted(self._parts)}"
            raise ValueError(f"found part {name!r}; expected {expected}; ask for one of these")
        return self._parts[name]


def all_positions(samples: Samples) -> Tensor:
    """Return the positions of all samples, ``(N,)`` int64."""
    return torch.arange(len(samples))


def content_digest(inputs: Tensor, labels: Tensor, names: Sequence[str]) -> str:
    """Return the sha256 of inputs and labels as stored, in their order, and of the class names."""
    content = hashlib.sha256(canonical_json(list(names)).encode())
    for tensor in (inputs, labels):
        array = tensor.detach().cpu().contiguous().numpy()
        content.update(canonical_json([str(array.dtype), list(array.shape)]).encode())
        # Little endian on every machine, so that the digest is the same everywhere.
        content.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return content.hexdigest()


@dataclass(frozen=True, slots=True)
class BoundedSamples:
    """Samples whose inputs are checked against the card's bounds whenever they are read.

    Nothing is checked if the card states no bounds.
    """

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
        """Return the inputs ``(B, *shape)`` float32 at the positions ``(B,)``.

        Raises:
            ValueError: A pixel is outside the card's bounds, or is NaN.
        """
        inputs = self.samples.inputs(positions)
        if self.card.bounds is None or not len(inputs):
            return inputs
        low, high = self.card.bounds
        smallest, largest = torch.aminmax(inputs)
        # Not `smallest < low or largest > high`, which would accept NaN.
        if not (smallest >= low and largest <= high):
            found = f"pixels from {smallest.item():g} to {largest.item():g}"
            expected = f"{low:g} to {high:g}, the bounds on the card"
            raise ValueError(f"found {found}; expected {expected}; correct the data set")
        return inputs

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels ``(B,)`` or ``(B, outputs)`` at the positions ``(B,)``, unchecked."""
        return self.samples.labels(positions)


def require_unit_bounds(samples: Samples) -> BoundedSamples:
    """Return the samples, checked against [0, 1], the bounds that the literature's eps refers to.

    Raises:
        ValueError: The card states other bounds, or none.
    """
    if samples.card.bounds != (0.0, 1.0):
        found = f"images with bounds {samples.card.bounds}"
        raise ValueError(
            f"found {found}; expected (0.0, 1.0), in which eps counts; rescale the data set"
        )
    return BoundedSamples(samples)
