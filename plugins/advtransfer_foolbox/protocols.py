"""Interface between the robustness evaluation and an attack.

A batch, one run, its result, and a model that counts its queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from eagerpy.astensor import astensor, astensor_
from foolbox.criteria import Criterion, Misclassification
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from foolbox.types import Bounds
from torch import Tensor

from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.prediction import fill_batch
from advtransfer.types import Context

OnProgress: TypeAlias = Callable[[int], None]
"""Receives the number of finished samples of a batch."""


@dataclass(frozen=True, slots=True)
class AttackBatch:
    """Samples to attack, on the device.

    Args:
        keys: Keys of the ``B`` samples; they name the samples' random streams.
        inputs: Images ``(B, C, H, W)``.
        labels: Classes ``(B,)``, or attributes ``(B, K)``.
        clean_logits: The model's logits without attack, ``(B, K)``.
        rows: Rows of a kernel batch; those of the test part, whatever the number of samples here.
        randomized: Whether the model draws at random: a wrong answer may then be chance, and ends no attack.
    """

    keys: Sequence[int]
    inputs: Tensor
    labels: Tensor
    clean_logits: Tensor
    rows: int = KERNEL_BATCH
    randomized: bool = False


@dataclass(frozen=True, slots=True)
class AttackRun:
    """One attempt of an attack at one radius.

    Args:
        eps: The radius.
        attempt: Number of the attempt, from 0 to `Attack.count_attempts` - 1.
    """

    eps: float
    attempt: int


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The points that an attack ended at, and the number of queries it made.

    Args:
        points: One point per sample, ``(B, C, H, W)``; an adversarial one if the attack found any.
        is_adversarial: True where the attack saw the point misclassified and stopped, ``(B,)`` bool.
        completed: True where the attack could be run and all its gradients were finite, ``(B,)``
            bool.
        forward_counts: Number of model evaluations per sample, ``(B,)`` int64.
        gradient_counts: Number of gradient evaluations per sample, ``(B,)`` int64.
    """

    points: Tensor
    is_adversarial: Tensor
    completed: Tensor
    forward_counts: Tensor
    gradient_counts: Tensor

    @classmethod
    def concatenate(cls, results: Iterable[BatchResult]) -> BatchResult:
        """Return the rows of several results, one result after the other."""
        columns = zip(*(result._columns() for result in results), strict=True)
        return cls(*map(torch.cat, columns))

    def first_rows(self, count: int) -> BatchResult:
        """Return the first `count` rows."""
        return BatchResult(*(column[:count] for column in self._columns()))

    def _columns(self) -> tuple[Tensor, ...]:
        return (
            self.points,
            self.is_adversarial,
            self.completed,
            self.forward_counts,
            self.gradient_counts,
        )


class Attack(Protocol):
    """A Foolbox attack as an evaluation uses it.

    The outcome of a sample must not depend on the other samples of its batch.
    """

    @property
    def finds_nearest(self) -> bool:
        """True if it searches for the nearest example at any radius; it is then run only once."""

    def count_attempts(self, classes: int) -> int:
        """Return the number of runs on the samples that are not broken yet.

        Of attributes, `classes` is what `count_decisions` returns.
        """

    def run_attempt(
        self,
        model: PyTorchModel,
        batch: AttackBatch,
        run: AttackRun,
        *,
        context: Context,
        on_progress: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the batch once."""


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which rows are wrong by their logits ``(B, K)``, all of them finite, ``(B,)`` bool.

    A row of a class is wrong if it is predicted as another one; a row of attributes ``(B, K)``, if
    any attribute is, which is predicted where its logit is above 0.
    """
    # argmax over NaN gives some class, which must not pass as a misclassification.
    is_finite = logits.isfinite().all(1)
    if labels.ndim == 2:
        return is_finite & ((logits > 0) != (labels > 0)).any(1)
    return is_finite & (logits.argmax(1) != labels)


def count_decisions(logits: Tensor, labels: Tensor) -> int:
    """Return the number of predictions of which one is right, and each other one an attack's target.

    These are the ``K`` classes. Of ``K`` attributes, each can flip by itself, which makes ``K + 1``.
    """
    return logits.shape[1] + (1 if labels.ndim == 2 else 0)


def criterion_labels(criterion: object) -> Tensor:
    """Return the labels ``(B,)`` of a Foolbox criterion, which may be the labels themselves.

    Raises:
        TypeError: The criterion is not misclassification.
    """
    if isinstance(criterion, Misclassification):
        criterion = criterion.labels
    if isinstance(criterion, Criterion):
        raise TypeError(
            f"found the criterion {type(criterion).__name__}; expected Misclassification, "
            "or labels (B,); use Foolbox's own attack for others"
        )
    labels: Tensor = astensor(criterion).raw
    return labels


def attack_in_chunks(
    batch: AttackBatch, attack_rows: Callable[[Tensor], BatchResult], on_progress: OnProgress
) -> BatchResult:
    """Return the result of a whole batch, attacked `KERNEL_BATCH` rows at a time.

    Args:
        batch: The samples.
        attack_rows: Attacks the rows of these numbers, always `KERNEL_BATCH` of them, since
            Foolbox's step sizes may depend on their number: the last ones are
            filled up with copies, whose results are dropped.
        on_progress: Called with the number of samples done.
    """
    results = []
    numbers = torch.arange(len(batch.labels), device=batch.labels.device)
    done_count = 0
    for rows in torch.split(numbers, KERNEL_BATCH):
        results.append(attack_rows(fill_batch(rows)).first_rows(len(rows)))
        done_count += len(rows)
        on_progress(done_count)
    return BatchResult.concatenate(results)


class CountingModel(Model):
    """A Foolbox model that counts the queries of an attack on one batch.

    An attack evaluates all rows of a batch until the last one is done, so every row has the same
    counts.
    """

    def __init__(self, model: Model, *, rows: int, device: torch.device) -> None:
        self._model = model
        self.forward_count = 0
        self.gradient_count = 0
        self.finite_gradients = torch.ones(rows, dtype=torch.bool, device=device)

    @property
    def bounds(self) -> Bounds:
        """The bounds of the counted model."""
        return self._model.bounds

    def __call__(self, inputs: Any) -> Any:  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        """Return the model's logits."""
        x, restore_type = astensor_(inputs)
        self.forward_count += 1
        if x.raw.requires_grad:
            # Foolbox's attacks keep their gradients to themselves: only a hook sees if one is NaN.
            x.raw.register_hook(self._record_gradient)
        return restore_type(self._model(x))

    def batch_result(self, points: Tensor, *, is_adversarial: Tensor) -> BatchResult:
        """Return the attack's points ``(B, C, H, W)`` with the counts so far."""
        return BatchResult(
            points,
            is_adversarial,
            self.finite_gradients,
            torch.full((len(points),), self.forward_count, device=points.device),
            torch.full((len(points),), self.gradient_count, device=points.device),
        )

    def _record_gradient(self, gradient: Tensor) -> None:
        self.gradient_count += 1
        self.finite_gradients &= gradient.isfinite().flatten(1).all(1)
