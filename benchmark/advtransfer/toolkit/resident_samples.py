"""Samples that stay on the device of a training for as long as it lasts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import DataCard, Samples

MAX_RESIDENT_BYTES: Mapping[str, int] = {"cpu": 2**28, "cuda": 2**31}
"""Largest size of the inputs that are kept, by the type of the device.

Whether they are kept changes no number.
"""

SAMPLES_PER_READING = 1024
"""Samples that are read together."""


class ResidentSamples:
    """Samples in the memory of a device, see `keep_on_device`.

    Args:
        samples: The samples, all of which are read.
        device: Where they are kept. On a GPU inputs that are multiples of 1 / 255 are kept as
            uint8, from which the same float32 numbers are made.
    """

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.card: DataCard = samples.card
        self.keys: Sequence[int] = samples.keys
        positions = torch.split(all_positions(samples), SAMPLES_PER_READING)
        chunks = [_smallest_type(samples.inputs(rows).to(device)) for rows in positions]
        if any(chunk.dtype != torch.uint8 for chunk in chunks):
            chunks = [_as_float(chunk) for chunk in chunks]
        self._inputs = torch.cat(chunks)
        self._labels = samples.labels(all_positions(samples)).to(device)

    def __len__(self) -> int:
        return len(self._inputs)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the inputs ``(B, *shape)`` float32 at the positions ``(B,)``, on the device."""
        return _as_float(self._inputs[positions])

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels ``(B,)`` or ``(B, outputs)`` at the positions, on the device."""
        return self._labels[positions]


def keep_on_device(samples: Samples, device: torch.device) -> Samples:
    """Return the samples in the memory of the device; themselves where they are too many.

    They are read once instead of once an epoch, and every read gives the same bits.

    Args:
        samples: Samples whose inputs do not change from one read to the next.
        device: The device of the training.
    """
    inputs = 4 * len(samples) * math.prod(samples.card.shape)
    if not len(samples) or inputs > MAX_RESIDENT_BYTES.get(device.type, 0):
        return samples
    return ResidentSamples(samples, device)


def _smallest_type(inputs: Tensor) -> Tensor:
    """Return inputs on a GPU as uint8, where float32 numbers made from these are the same."""
    if inputs.device.type == "cpu" or inputs.dtype != torch.float32:
        return inputs
    stored = (inputs * 255).round().clamp(0, 255).to(torch.uint8)
    return stored if _as_float(stored).equal(inputs) else inputs


def _as_float(inputs: Tensor) -> Tensor:
    """Return uint8 inputs as float32 multiples of 1 / 255; others as they are."""
    if inputs.dtype != torch.uint8:
        return inputs
    # From a table made on the CPU: a GPU divides by a multiplication, which rounds otherwise.
    table = (torch.arange(256).float() / 255).to(inputs.device)
    return table[inputs.long()]
