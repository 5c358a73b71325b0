"""Predictions and stored rows that do not depend on how samples were batched.

A batch of one gives other bits than a batch of 64, since other kernels add in another order. Everything is therefore
computed in chunks of exactly `KERNEL_BATCH` rows. A row that is stored by its sample's key is computed at the place in
the batch that the key names, so that the kernels treat it the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.text import type_text
from advtransfer.types import Samples

KERNEL_BATCH = 64
"""The number of rows that every kernel sees."""


def kernel_batches(samples: Samples) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Positions ``(B,)``, inputs ``(B, *shape)`` and labels, `KERNEL_BATCH` samples at a time, in order."""
    for positions in torch.split(torch.arange(len(samples)), KERNEL_BATCH):
        if len(positions):
            yield positions, samples.inputs(positions), samples.labels(positions)


def apply_in_chunks(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """What `function` gives for the rows of the inputs, computed in chunks of exactly `KERNEL_BATCH` rows.

    The last chunk is filled up with copies of its first row, and cut afterwards. `function` must treat rows
    independently (a network in eval mode does).

    Raises:
        ValueError: There are no rows.
    """
    if not len(inputs[0]):
        raise ValueError("found no rows; expected at least one; check what was selected")
    parts = zip(*(torch.split(tensor, KERNEL_BATCH) for tensor in inputs), strict=True)
    return torch.cat(
        [_require_rows(function(*map(fill_batch, part)))[: len(part[0])] for part in parts]
    )


def _require_rows(outputs: object) -> Tensor:
    if isinstance(outputs, Tensor) and outputs.ndim and len(outputs) == KERNEL_BATCH:
        return outputs
    raise ModelError(
        f"found {describe_outputs(outputs)} from the model; expected {KERNEL_BATCH} rows, one an input"
    )


def describe_outputs(outputs: object) -> str:
    """What a model gave, in words."""
    if isinstance(outputs, Tensor):
        layout = "" if outputs.layout == torch.strided else f" and layout {outputs.layout}"
        return f"{str(outputs.dtype).removeprefix('torch.')} outputs of shape {tuple(outputs.shape)}{layout}"
    return type_text(outputs)


def require_logits(outputs: object, rows: int, classes: int | None = None) -> Tensor:
    """What a model gave, if it is a floating-point logit for each row and class.

    Raises:
        ModelError: It is something else.
    """
    if (
        isinstance(outputs, Tensor)
        and _is_matrix(outputs)
        and tuple(outputs.shape) == (rows, classes or outputs.shape[1])
    ):
        return outputs
    shape = f"(B, K), here ({rows}, {classes or 'K'})"
    raise ModelError(
        f"found {describe_outputs(outputs)} from the model; expected logits {shape}; "
        "let its forward pass return the logits alone"
    )


def _is_matrix(outputs: Tensor) -> bool:
    """Whether the outputs are a dense floating-point matrix."""
    return outputs.layout == torch.strided and outputs.is_floating_point() and outputs.ndim == 2


def fill_batch(rows: Tensor, size: int = KERNEL_BATCH) -> Tensor:
    """Return the rows ``(B, ...)``, filled up to `size` rows with copies of the first one.

    A batch that has `size` rows or more is returned as it is.
    """
    missing = size - len(rows)
    if missing <= 0:
        return rows
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])


def predict(model: nn.Module, samples: Samples, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """The logits ``(N, K)`` float32 and the labels of all samples, on the CPU.

    Raises:
        ModelError: The model gives something else than logits.
        ValueError: The model, or a module in it, is in training mode; or there are no samples.
    """
    if any(module.training for module in model.modules()):
        raise ValueError(
            "found a model in training mode; expected eval mode; call model.eval() before predicting"
        )
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    logits, labels = [], []
    with torch.inference_mode():
        for _, inputs, truth in kernel_batches(samples):
            outputs = apply_in_chunks(
                lambda rows: require_logits(model(rows), len(rows)), inputs.to(device)
            )
            logits.append(outputs.float().cpu())
            labels.append(truth)
    return torch.cat(logits), torch.cat(labels)


def measure_accuracy(model: nn.Module, samples: Samples, *, device: torch.device) -> float:
    """The share of samples whose largest logit is that of their class."""
    logits, labels = predict(model, samples, device=device)
    return (logits.argmax(1) == labels).float().mean().item()


class RowStore(Protocol):
    """Where rows are kept."""

    def read(self, numbers: Sequence[int]) -> Mapping[int, Tensor]:
        """Those of the rows that are there."""

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Keep rows."""


class InMemoryRows(dict[int, Tensor]):
    """A store that ends with the process."""

    def read(self, numbers: Sequence[int]) -> Mapping[int, Tensor]:
        """Those of the rows that are there."""
        return {number: self[number] for number in numbers if number in self}

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Keep rows."""
        self.update(rows)


def compute_rows(
    samples: Samples,
    compute: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    store: RowStore | None = None,
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
    for batch in _aligned_batches(missing):
        made = _compute_batch(samples, compute, batch, missing, device)
        found |= made
        if store is not None:
            store.write(made)
    return torch.stack([found[key] for key in keys])


def _aligned_batches(keys: Mapping[int, int]) -> Iterator[dict[int, int]]:
    """The keys by their place in a batch, in as few batches as their places allow."""
    queues: dict[int, list[int]] = {}
    for key in sorted(keys, reverse=True):
        queues.setdefault(key % KERNEL_BATCH, []).append(key)
    while queues:
        yield {place: queue.pop() for place, queue in sorted(queues.items())}
        queues = {place: queue for place, queue in queues.items() if queue}


def _compute_batch(
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
