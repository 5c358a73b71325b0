"""Predictions and stored rows that do not depend on how samples were batched.

A batch of one gives other bits than a batch of 64, since other kernels add in another order.
Everything is therefore computed in chunks of a fixed number of rows (see `kernel_batch`). A row that
is stored by its sample's key is computed at the batch slot that the key names, so that the kernels
treat it the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.text import type_text
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH, default_rows
from advtransfer.toolkit.randomized import is_randomized, keyed_draws
from advtransfer.types import Samples


def kernel_batches(
    samples: Samples, *, rows: int | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield positions ``(B,)``, inputs ``(B, *shape)`` and labels of the samples, in order.

    Each batch has `rows` samples, `default_rows` by default; the last one may have fewer.
    """
    for positions in torch.split(torch.arange(len(samples)), rows or default_rows()):
        if len(positions):  # torch.split of no positions gives one empty chunk
            yield positions, samples.inputs(positions), samples.labels(positions)


def apply_in_chunks(
    function: Callable[..., Tensor], *inputs: Tensor, rows: int | None = None
) -> Tensor:
    """Return the function's rows for the rows of the inputs, computed `rows` at a time.

    The last chunk is filled up with copies of its first row and cut afterwards.

    Args:
        function: From one tensor ``(rows, ...)`` for each input to ``(rows, ...)``. It must treat
            rows independently, as a network in eval mode does.
        *inputs: Tensors ``(N, ...)`` of equal length.
        rows: Rows of every chunk, as `kernel_rows` gives them for the set that the inputs are from;
            `default_rows` by default.

    Raises:
        ModelError: The function returns another number of rows.
        ValueError: There are no rows.
    """
    if not len(inputs[0]):
        raise ValueError("found no rows; expected at least one; check what was selected")
    size = rows or default_rows()
    chunks = zip(*(torch.split(tensor, size) for tensor in inputs), strict=True)
    outputs: list[Tensor] = []
    for chunk in chunks:
        computed = function(*(fill_batch(part, size) for part in chunk))
        outputs.append(_require_rows(computed, size)[: len(chunk[0])])
    return torch.cat(outputs)


def _require_rows(outputs: object, rows: int) -> Tensor:
    if isinstance(outputs, Tensor) and outputs.ndim and len(outputs) == rows:
        return outputs
    raise ModelError(
        f"found {describe_outputs(outputs)} from the model; "
        f"expected {rows} rows, one for each input"
    )


def describe_outputs(outputs: object) -> str:
    """Return a description of a model's outputs for an error message."""
    if not isinstance(outputs, Tensor):
        return type_text(outputs)
    dtype = str(outputs.dtype).removeprefix("torch.")
    layout = "" if outputs.layout == torch.strided else f" and layout {outputs.layout}"
    return f"{dtype} outputs of shape {tuple(outputs.shape)}{layout}"


def require_logits(outputs: object, rows: int, classes: int | None = None) -> Tensor:
    """Return the outputs if they are floating-point logits ``(rows, classes)``.

    Args:
        outputs: The value that a model returned.
        rows: The expected number of rows.
        classes: The expected number of columns; None for any.

    Raises:
        ModelError: The outputs are something else.
    """
    if isinstance(outputs, Tensor) and _is_matrix(outputs):
        expected = (rows, classes or outputs.shape[1])
        if tuple(outputs.shape) == expected:
            return outputs
    shape = f"(B, K), here ({rows}, {classes or 'K'})"
    raise ModelError(
        f"found {describe_outputs(outputs)} from the model; expected logits {shape}; "
        "let its forward pass return the logits alone"
    )


def _is_matrix(outputs: Tensor) -> bool:
    """Return True if the outputs are a dense floating-point matrix."""
    return outputs.layout == torch.strided and outputs.is_floating_point() and outputs.ndim == 2


def fill_batch(rows: Tensor, size: int = KERNEL_BATCH) -> Tensor:
    """Return the rows ``(B, ...)``, filled up to `size` rows with copies of the first one.

    A batch that has `size` rows or more is returned as it is.
    """
    missing = size - len(rows)
    if missing <= 0:
        return rows
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])


def predict(
    model: nn.Module, samples: Samples, *, device: torch.device, rows: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the logits ``(N, K)`` float32 and the labels of all samples, on the CPU.

    The model sees `rows` rows at a time, as in `apply_in_chunks`; a randomised one answers for each sample
    alone, at the draw of its key.

    Raises:
        ModelError: The model returns something other than logits.
        ValueError: The model, or a module in it, is in training mode; or there are no samples.
    """
    if any(module.training for module in model.modules()):
        raise ValueError(
            "found a model in training mode; expected eval mode; "
            "call model.eval() before predicting"
        )
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")

    def checked_model(batch: Tensor) -> Tensor:
        return require_logits(model(batch), len(batch))

    logits: list[Tensor] = []
    labels: list[Tensor] = []
    randomized = is_randomized(model)
    with torch.inference_mode():
        for positions, inputs, batch_labels in kernel_batches(samples, rows=rows):
            if randomized:
                keys = [samples.keys[position] for position in positions.tolist()]
                outputs = keyed_draws(checked_model, inputs.to(device), keys)
            else:
                outputs = apply_in_chunks(checked_model, inputs.to(device), rows=rows)
            logits.append(outputs.float().cpu())
            labels.append(batch_labels)
    return torch.cat(logits), torch.cat(labels)


def measure_accuracy(model: nn.Module, samples: Samples, *, device: torch.device) -> float:
    """Return the share of samples whose largest logit is that of their class."""
    logits, labels = predict(model, samples, device=device)
    return (logits.argmax(1) == labels).float().mean().item()


class RowStore(Protocol):
    """A store of computed rows by the keys of their samples."""

    def read(self, numbers: Sequence[int]) -> Mapping[int, Tensor]:
        """Return the stored rows among those with the given keys."""

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Store rows by key."""


class InMemoryRows(dict[int, Tensor]):
    """A row store in memory, which ends with the process."""

    def read(self, numbers: Sequence[int]) -> Mapping[int, Tensor]:
        """Return the stored rows among those with the given keys."""
        return {number: self[number] for number in numbers if number in self}

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Store rows by key."""
        self.update(rows)


def compute_rows(
    samples: Samples,
    compute: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    store: RowStore | None = None,
) -> Tensor:
    """Return the rows of all samples, ``(N, ...)`` on the CPU, in the samples' order.

    Args:
        samples: The samples.
        compute: From inputs ``(B, *shape)`` on `device` to rows ``(B, ...)``. It must treat rows
            independently, and runs without gradients.
        device: Where to compute.
        store: Rows are read from it, and written to it once they are computed; None for no store.

    Raises:
        ValueError: There are no samples.
    """
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    keys = samples.keys
    rows: dict[int, Tensor] = {}
    if store is not None:
        rows.update(store.read(keys))
    missing = {key: position for position, key in enumerate(keys) if key not in rows}
    slots = default_rows()
    for batch in _aligned_batches(missing, slots):
        computed = _compute_batch(samples, compute, batch, missing, device, slots)
        rows |= computed
        # Written batch by batch, so that a killed call loses the last batch at most.
        if store is not None:
            store.write(computed)
    return torch.stack([rows[key] for key in keys])


def _aligned_batches(keys: Mapping[int, int], slots: int) -> Iterator[dict[int, int]]:
    """Yield the keys by their batch slots, in as few batches as the slots allow."""
    queues: dict[int, list[int]] = {}
    for key in sorted(keys, reverse=True):
        # The slot depends on the key alone: a row then has the same bits in every later call.
        queues.setdefault(key % slots, []).append(key)
    while queues:
        yield {slot: queue.pop() for slot, queue in sorted(queues.items())}
        queues = {slot: queue for slot, queue in queues.items() if queue}


def _compute_batch(
    samples: Samples,
    compute: Callable[[Tensor], Tensor],
    batch: Mapping[int, int],
    positions: Mapping[int, int],
    device: torch.device,
    slots: int,
) -> dict[int, Tensor]:
    """Compute the rows of one batch by key; free slots are filled with copies of one sample.

    Args:
        samples: The samples.
        compute: As in `compute_rows`.
        batch: The key at each used slot.
        positions: The position of each key in `samples`.
        device: Where to compute.
        slots: The number of slots of a batch.
    """
    used_positions = torch.tensor([positions[key] for key in batch.values()])
    inputs = samples.inputs(used_positions).to(device)
    input_of_slot = {slot: number for number, slot in enumerate(batch)}
    filled = [input_of_slot.get(slot, 0) for slot in range(slots)]
    # Stored rows must not depend on the precision of the training that first asked for them.
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        rows = compute(inputs[filled]).cpu()
    return {key: rows[slot].clone() for slot, key in batch.items()}
