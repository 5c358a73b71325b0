"""Interface between the robustness evaluation and an attack.

A batch, one run, its result, and a model that counts its queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from eagerpy.astensor import astensor_
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from foolbox.types import Bounds
from torch import Tensor

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.types import Context

OnProgress: TypeAlias = Callable[[int], None]
"""Told how many samples of a block are done."""


@dataclass(frozen=True, slots=True)
class AttackBatch:
    """Samples to attack, on the device.

    Args:
        keys: The samples' keys, ``B`` of them: what random streams are named by.
        inputs: Images ``(B, C, H, W)``.
        labels: Classes ``(B,)``.
        logits: What the model says without attack, ``(B, K)``.
        left: Where this attempt left off at the next smaller radius, ``(B, C, H, W)``; None on the first rung.
    """

    keys: Sequence[int]
    inputs: Tensor
    labels: Tensor
    clean_logits: Tensor
    warm_start: Tensor | None = None


@dataclass(frozen=True, slots=True)
class AttackRun:
    """One attempt at one radius.

    Args:
        eps: The radius.
        attempt: Which of the attack's attempts.
        below: The next smaller radius that was attacked; 0 on the first rung.
        largest: The largest radius there will be.
    """

    eps: float
    attempt: int
    previous_eps: float
    largest_eps: float


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Where an attack came to, and what it took.

    Args:
        inputs: A point for each sample, ``(B, C, H, W)``; one that broke it where the attack knows one.
        found: Whether the attack saw the point misclassified, and so looked no further, ``(B,)`` bool.
        finite: Whether the attack could be carried out, and all its gradients were finite, ``(B,)`` bool.
        forwards: How often the model was evaluated at a point of the sample, ``(B,)`` int64.
        gradients: How often the gradient was, ``(B,)`` int64.
    """

    points: Tensor
    is_adversarial: Tensor
    completed: Tensor
    forward_counts: Tensor
    gradient_counts: Tensor

    @classmethod
    def concatenate(cls, parts: Iterable[BatchResult]) -> BatchResult:
        """Several, one after the other."""
        columns = zip(
            *(
                (
                    one.points,
                    one.is_adversarial,
                    one.completed,
                    one.forward_counts,
                    one.gradient_counts,
                )
                for one in parts
            ),
            strict=True,
        )
        return cls(*map(torch.cat, columns))

    def first_rows(self, count: int) -> BatchResult:
        """The first rows."""
        rows = slice(count)
        return BatchResult(
            self.points[rows],
            self.is_adversarial[rows],
            self.completed[rows],
            self.forward_counts[rows],
            self.gradient_counts[rows],
        )


class Attack(Protocol):
    """A Foolbox attack as an evaluation uses it; a sample's outcome never depends on the others of its block."""

    @property
    def finds_nearest(self) -> bool:
        """Whether it looks for the nearest example, whatever the radius: then it is run once for all radii."""

    @property
    def warm_starts(self) -> bool:
        """Whether it can go on at a larger radius from where it left off."""

    def count_attempts(self, classes: int) -> int:
        """How often it is run on what still stands."""

    def run_attempt(
        self,
        model: PyTorchModel,
        block: AttackBatch,
        rung: AttackRun,
        *,
        context: Context,
        tick: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the block once."""


def fill_kernel_batch(rows: Tensor) -> Tensor:
    """Up to `KERNEL_BATCH` numbers of rows, filled up with the first, so that every kernel sees as many."""
    return torch.cat([rows, rows[:1].expand(KERNEL_BATCH - len(rows))])


class CountingModel(Model):
    """Another Foolbox model, watched while an attack runs on one batch.

    All rows of a batch are evaluated until the attack is done with the last of them, and are counted so.
    """

    def __init__(self, model: Model, *, rows: int, device: torch.device) -> None:
        self._model = model
        self.forward_count = self.gradient_count = 0
        self.finite_gradients = torch.ones(rows, dtype=torch.bool, device=device)

    @property
    def bounds(self) -> Bounds:
        """The model's."""
        return self._model.bounds

    def __call__(self, inputs: Any) -> Any:  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        """The model's logits."""
        x, restore = astensor_(inputs)
        self.forward_count += 1
        if x.raw.requires_grad:
            x.raw.register_hook(self._record_gradient)
        return restore(self._model(x))

    def batch_result(self, points: Tensor, *, found: Tensor) -> BatchResult:
        """The points an attack came to, whether it found them misclassified, and what was metered on the way."""
        counts = torch.full((2, len(points)), self.forward_count, device=points.device)
        counts[1] = self.gradient_count
        return BatchResult(points, found, self.finite_gradients, counts[0], counts[1])

    def _record_gradient(self, gradient: Tensor) -> None:
        self.gradient_count += 1
        self.finite_gradients &= gradient.isfinite().flatten(1).all(1)
