"""Losses and numbers of correct predictions for each task, and the objectives of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.types import DataCard, Task


def task_loss(
    task: Task,
    outputs: Tensor,
    labels: Tensor,
    *,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """Return the loss of a batch: its mean, its sum, or one value for each sample ``(B,)``.

    Args:
        task: ``classes``: cross-entropy; ``attributes``: binary cross-entropy with logits, averaged
            over the attributes; ``values``: squared error, summed over the outputs (Liang et al.,
            2020).
        outputs: ``(B, K)``.
        labels: ``(B,)`` int64 classes, ``(B, K)`` 0/1 attributes or float32 values.
        reduction: How the losses of the samples are combined.
    """
    if task == "classes":
        return functional.cross_entropy(outputs, labels, reduction=reduction)
    if task == "attributes":
        attribute_losses = functional.binary_cross_entropy_with_logits(
            outputs, labels.to(outputs.dtype), reduction="none"
        )
        return _reduce_losses(attribute_losses.mean(1), reduction)
    squared_errors = (outputs - labels).square()
    return _reduce_losses(squared_errors.sum(1), reduction)


def count_correct(task: Task, outputs: Tensor, labels: Tensor) -> Tensor | None:
    """Return the number of correct predictions; None for the task ``values``, which has none.

    A sample with attributes counts by its share of correct attributes. The number stays on the
    device, so that a training waits for it no more often than it must.

    Args:
        task: The task.
        outputs: ``(B, K)``.
        labels: ``(B,)`` classes or ``(B, K)`` attributes.

    Returns:
        One number ``()``, int64 for classes and float64 for attributes.
    """
    if task == "classes":
        return (outputs.argmax(1) == labels).sum()
    if task == "attributes":
        is_correct = (outputs > 0) == (labels > 0)
        return is_correct.double().mean(1).sum()
    return None


def regression_targets(labels: Tensor, card: DataCard) -> Tensor:
    """Return the outputs that a least-squares fit aims at, ``(N, K)`` float64.

    Classes become one-hot rows, attributes -1/2 or 1/2, and values stay as they are.

    Args:
        labels: ``(N,)`` int64 classes, ``(N, K)`` 0/1 attributes or values.
        card: The card of the samples: its task and number of outputs.
    """
    if card.task == "classes":
        return functional.one_hot(labels, card.outputs).double()
    # An attribute is predicted where the output is above 0, so its targets lie on both sides of 0.
    offset = 0.5 if card.task == "attributes" else 0.0
    return labels.double() - offset


def _reduce_losses(losses: Tensor, reduction: Literal["mean", "sum", "none"]) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


Perturb: TypeAlias = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
"""A function from a model, inputs ``(B, ...)``, labels and a generator to the perturbed inputs."""


class Objective(Protocol):
    """The losses of one batch, one for each optimizer step on it."""

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors kept from batch to batch, by name.

        They are saved with the weights; resuming writes them back into this mapping.
        """

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pairs of a loss and its outputs ``(B, K)``; each step is taken before the next."""


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """The task's mean loss on the batch, perturbed if `perturb` is given: one step a batch."""

    task: Task = "classes"
    perturb: Perturb | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one loss and its outputs ``(B, K)``."""
        if self.perturb is not None:
            inputs = self.perturb(model, inputs, labels, noise)
        outputs: Tensor = model(inputs)
        yield task_loss(self.task, outputs, labels), outputs


@dataclass(frozen=True, slots=True)
class PenalizedLoss:
    """Another objective's losses plus a penalty on the weights, computed before each step.

    Args:
        objective: The objective.
        penalty: Returns the penalty ``()`` on the model's current weights.
    """

    objective: Objective
    penalty: Callable[[], Tensor]

    @property
    def state(self) -> dict[str, Tensor]:
        """The state of the objective; a penalty has none."""
        return self.objective.state

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the objective's pairs, each loss with the penalty added."""
        for loss, outputs in self.objective(model, inputs, labels, noise):
            yield loss + self.penalty(), outputs
