"""The loss of each task, and how many samples a network has right."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from advtransfer.types import Task


def task_loss(
    task: Task, outputs: Tensor, labels: Tensor, *, reduction: Literal["mean", "sum", "none"] = "mean"
) -> Tensor:
    """The loss over a batch: its mean, its sum, or one value a sample ``(B,)``.

    Args:
        task: ``classes``: cross-entropy; ``attributes``: binary cross-entropy with logits, averaged over the
            attributes; ``values``: squared error, summed over the outputs (Liang et al., 2020).
        outputs: ``(B, K)``.
        labels: ``(B,)`` int64 classes, ``(B, K)`` 0/1 attributes or float32 values.
        reduction: What is made of the samples' losses.
    """
    if task == "classes":
        return functional.cross_entropy(outputs, labels, reduction=reduction)
    if task == "attributes":
        wrong = functional.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype), reduction="none")
        return _reduced(wrong.mean(1), reduction)
    return _reduced((outputs - labels).square().sum(1), reduction)


def right(task: Task, outputs: Tensor, labels: Tensor) -> float | None:
    """How many of the batch are right, a sample counting by its share of right attributes; None where none can be."""
    if task == "classes":
        return int((outputs.argmax(1) == labels).sum())
    if task == "attributes":
        return ((outputs > 0) == (labels > 0)).double().mean(1).sum().item()
    return None


def _reduced(losses: Tensor, reduction: Literal["mean", "sum", "none"]) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()
