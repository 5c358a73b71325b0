"""What a frozen, deterministic function gives for samples, each computed once and kept by the sample's key.

A row must not depend on which others were asked for beside it. So each is computed in a batch of `KERNEL_BATCH` rows at
the place that its key names: the kernels treat it the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.types import Samples


class Store(Protocol):
    """Where rows are kept."""

    def read(self, numbers: Sequence[int]) -> Mapping[int, Tensor]:
        """Those of the rows that are there."""

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Keep rows."""


class Memory(dict[int, Tensor]):
    """A store that ends with the process."""

    def read(self, numbers: Sequence[int]) -> Mapping[int, Tensor]:
        """Those of the rows that are there."""
        return {number: self[number] for number in numbers if number in self}

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Keep rows."""
        self.update(rows)


def rows_of(
    samples: Samples, compute: Callable[[Tensor], Tensor], *, device: torch.device, store: Store | None = None
) -> Tensor:
    """What `compute` gives for the samples, ``(N, ...)`` on the CPU, in their order.

    Args:
        samples: What rows are asked for.
        compute: From inputs ``(B, *shape)`` on `device` to ``(B, ...)``; it must treat rows independently, and is given
            no gradient.
        device: Where to compute.
        store: Where rows are found, and kept once they are computed; None for nowhere.

    Raises:
        ValueError: There are no samples.
    """
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    keys = samples.keys
    found = dict(store.read(keys)) if store is not None else {}
    missing = {key: position for position, key in enumerate(keys) if key not in found}
    for batch in _batches(missing):
        made = _computed(samples, compute, batch, missing, device)
        found |= made
        if store is not None:
            store.write(made)
    return torch.stack([found[key] for key in keys])


def _batches(keys: Mapping[int, int]) -> Iterator[dict[int, int]]:
    """The keys by their place in a batch, in as few batches as their places allow."""
    queues: dict[int, list[int]] = {}
    for key in sorted(keys, reverse=True):
        queues.setdefault(key % KERNEL_BATCH, []).append(key)
    while queues:
        yield {place: queue.pop() for place, queue in sorted(queues.items())}
        queues = {place: queue for place, queue in queues.items() if queue}


def _computed(
    samples: Samples,
    compute: Callable[[Tensor], Tensor],
    batch: Mapping[int, int],
    positions: Mapping[int, int],
    device: torch.device,
) -> dict[int, Tensor]:
    """The rows of one batch by key; places that no key takes are filled with copies of one that is there."""
    inputs = samples.inputs(torch.tensor([positions[key] for key in batch.values()])).to(device)
    at = {place: number for number, place in enumerate(batch)}
    # what is kept must not depend on the precision of the training that first asked for it
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        rows = compute(inputs[[at.get(place, 0) for place in range(KERNEL_BATCH)]]).cpu()
    return {key: rows[place].clone() for place, key in batch.items()}
