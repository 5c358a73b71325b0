"""Labels and outputs held to what the card says of them: a wrong label gives a number as readily as a right one."""

from __future__ import annotations

import torch
from torch import Tensor

from advtransfer.toolkit.samples import every
from advtransfer.types import DataCard, Samples


def labels_of(samples: Samples) -> Tensor:
    """All labels: ``(N,)`` classes, ``(N, K)`` attributes or values.

    Raises:
        ValueError: They have another shape or type than those of the task, or one of them means nothing in it.
    """
    labels, card = samples.labels(every(samples)), samples.card
    shape = (len(samples),) if card.task == "classes" else (len(samples), card.outputs)
    if tuple(labels.shape) != shape or labels.is_floating_point() != (card.task == "values"):
        kind = "floats" if card.task == "values" else "integers"
        found, expected = f"labels of shape {tuple(labels.shape)} and type {labels.dtype}", f"{kind} of shape {shape}"
        raise ValueError(f"found {found}; expected {expected}, {card.task}; correct the data set or its card")
    if card.task == "values":
        _expect_finite(labels)
    else:
        _expect_within(labels, 0, card.outputs - 1 if card.task == "classes" else 1, card)
    return labels


def expect_outputs(outputs: Tensor, card: DataCard, *, of: str) -> None:
    """Refuse outputs ``(N, K)`` of another number than the target's."""
    if outputs.shape[1] != card.outputs:
        found, expected = f"a {of} of {outputs.shape[1]} outputs", f"{card.outputs}, as the target has"
        raise ValueError(f"found {found}; expected {expected}; build it for the target's own data entry")


def _expect_within(labels: Tensor, low: int, high: int, card: DataCard) -> None:
    if not ((labels >= low) & (labels <= high)).all():
        found, expected = f"labels from {int(labels.min())} to {int(labels.max())}", f"{low} to {high}"
        raise ValueError(f"found {found}; expected {expected}, the target's {card.task}; renumber the data set")


def _expect_finite(labels: Tensor) -> None:
    if broken := int((~torch.isfinite(labels).all(1)).sum()):
        found = f"values that are not finite for {broken} of {len(labels)} samples"
        raise ValueError(f"found {found}; expected finite ones; correct the data set")
