"""The batches of a training: read, augmented and moved to the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.augmentation import Augmentation
from advtransfer.toolkit.resident_samples import ResidentSamples
from advtransfer.types import Samples


@dataclass(frozen=True, slots=True)
class TrainingBatches:
    """Reader of a training's batches.

    Args:
        samples: The training samples.
        size: Samples in a batch; the last one of an order may be smaller.
        augment: Changes the images of a batch on the device.
        device: Where the model is.
    """

    samples: Samples
    size: int
    augment: Augmentation | None
    device: torch.device

    def read(self, order: Tensor, epoch: int, *, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs ``(B, *shape)`` and labels of the batches of an epoch, on the device.

        Args:
            order: Positions of samples ``(M,)``, on the CPU.
            epoch: The number of the epoch, which the augmentation depends on.
            first: The number of batches that are left out at the beginning.
        """
        start = first * self.size
        keys: Sequence[int] = ()
        if self.augment is not None:
            keys = [self.samples.keys[position] for position in order[start:].tolist()]
        batches = self._read_batches(
            torch.split(order[start:], self.size) if start < len(order) else ()
        )
        for number, (inputs, labels) in enumerate(batches):
            if self.augment is not None:
                batch_keys = keys[number * self.size : (number + 1) * self.size]
                inputs = self.augment(inputs, batch_keys, epoch)
            yield inputs, labels

    def _read_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the inputs and labels at each of the positions, on the device."""
        if isinstance(self.samples, ResidentSamples) or self.device.type == "cpu":
            for positions in batches:
                yield self._read(positions)
        else:
            yield from self._read_ahead(batches)

    def _read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels at the positions."""
        if isinstance(self.samples, ResidentSamples):
            positions = positions.to(self.device)
        inputs = self.samples.inputs(positions)
        labels = self.samples.labels(positions)
        return inputs.to(self.device), labels.to(self.device)

    def _read_ahead(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Read each batch while the GPU trains on the one before; copy from pinned memory."""

        def read(positions: Tensor) -> tuple[Tensor, Tensor]:
            return self.samples.inputs(positions), self.samples.labels(positions)

        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as reader:
            ahead = reader.submit(read, batches[0]) if batches else None
            for following in (*batches[1:], None):
                if ahead is None:
                    return
                inputs, labels = ahead.result()
                ahead = None if following is None else reader.submit(read, following)
                yield _copy_to_gpu(inputs, self.device), _copy_to_gpu(labels, self.device)


def _copy_to_gpu(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy on the GPU, made from pinned memory while the GPU computes."""
    # torch keeps the pinned memory until the copy is over.
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor).to(device, non_blocking=True)
