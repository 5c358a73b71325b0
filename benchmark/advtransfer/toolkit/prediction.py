"""Predictions that do not depend on how samples were batched.

A batch of one gives other bits than a batch of 64: other kernels add in another order. So everything is computed in
chunks of exactly `KERNEL_BATCH` rows, whatever batch the caller likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.printable import type_text
from advtransfer.types import Samples

KERNEL_BATCH = 64
"""The number of rows that every kernel sees."""


def chunks(samples: Samples) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
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
    return torch.cat([_rows(function(*map(_filled, part)))[: len(part[0])] for part in parts])


def _rows(outputs: object) -> Tensor:
    if isinstance(outputs, Tensor) and outputs.ndim and len(outputs) == KERNEL_BATCH:
        return outputs
    raise ModelError(f"found {outputs_in_words(outputs)} from the model; expected {KERNEL_BATCH} rows, one an input")


def outputs_in_words(outputs: object) -> str:
    """What a model gave, in words."""
    if isinstance(outputs, Tensor):
        layout = "" if outputs.layout == torch.strided else f" and layout {outputs.layout}"
        return f"{str(outputs.dtype).removeprefix('torch.')} outputs of shape {tuple(outputs.shape)}{layout}"
    return type_text(outputs)


def checked_logits(outputs: object, rows: int, classes: int | None = None) -> Tensor:
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
        f"found {outputs_in_words(outputs)} from the model; expected logits {shape}; "
        "let its forward pass return the logits alone"
    )


def _is_matrix(outputs: Tensor) -> bool:
    """Whether the outputs are a dense floating-point matrix."""
    return outputs.layout == torch.strided and outputs.is_floating_point() and outputs.ndim == 2


def _filled(rows: Tensor) -> Tensor:
    missing = KERNEL_BATCH - len(rows)
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])]) if missing else rows


def predict(model: nn.Module, samples: Samples, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """The logits ``(N, K)`` float32 and the labels of all samples, on the CPU.

    Raises:
        ModelError: The model gives something else than logits.
        ValueError: The model, or a module in it, is in training mode; or there are no samples.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("found a model in training mode; expected eval mode; call model.eval() before predicting")
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    logits, labels = [], []
    with torch.inference_mode():
        for _, inputs, truth in chunks(samples):
            outputs = apply_in_chunks(lambda rows: checked_logits(model(rows), len(rows)), inputs.to(device))
            logits.append(outputs.float().cpu())
            labels.append(truth)
    return torch.cat(logits), torch.cat(labels)


def accuracy(model: nn.Module, samples: Samples, *, device: torch.device) -> float:
    """The share of samples whose largest logit is that of their class."""
    logits, labels = predict(model, samples, device=device)
    return (logits.argmax(1) == labels).float().mean().item()
