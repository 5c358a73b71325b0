"""What a step of training minimises on a batch: an objective gives the loss, the training loop descends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.losses import task_loss
from advtransfer.types import Task

Perturb: TypeAlias = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
"""From the model, a batch of inputs and its labels to the inputs that are trained on; noise from the generator."""


class Objective(Protocol):
    """The losses of one batch, one for each step that is taken on it."""

    @property
    def state(self) -> dict[str, Tensor]:
        """What lives on from batch to batch, by name: saved with the weights, and written back into this mapping."""

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of a loss to descend and the outputs ``(B, K)`` it is of; each step is taken before the next pair."""


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """The mean loss of the task, on the batch as it is or as `perturb` makes it: one step a batch."""

    task: Task = "classes"
    perturb: Perturb | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The loss on the batch, perturbed first."""
        if self.perturb is not None:
            inputs = self.perturb(model, inputs, labels, noise)
        outputs: Tensor = model(inputs)
        yield task_loss(self.task, outputs, labels), outputs
