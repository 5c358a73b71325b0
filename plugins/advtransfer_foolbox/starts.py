"""Gradient attacks as an evaluation runs them.

Random starts per sample, restarts and targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Context, Shape
from advtransfer_foolbox.gradient_attacks import TrackedGradientAttack, other_classes
from advtransfer_foolbox.norms import bring_inside
from advtransfer_foolbox.protocols import AttackBatch, AttackRun, BatchResult, OnProgress


def random_starts(
    keys: Iterable[int], shape: Shape, *, norm: Norm, seed: int, restart: int, context: Context
) -> Tensor:
    """Return a uniform random point of the unit ball for each sample, ``(B, *shape)``.

    A sample's point depends on the seed, its key and the restart only.
    """
    draw_point = {"linf": _uniform_linf, "l2": _uniform_l2, "l1": _uniform_l1}[norm]
    size = math.prod(shape)
    points = [draw_point(size, context.generator("attack", seed, key, restart)) for key in keys]
    return torch.stack(points).reshape(-1, *shape)


def _uniform_linf(size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(size, generator=generator) - 1


def _uniform_l2(size: int, generator: torch.Generator) -> Tensor:
    # Without two of its coordinates, a uniform point of the sphere in size + 2 dimensions is
    # uniform in the ball (Voelker, Gosmann and Stewart, 2017).
    point = torch.randn(size + 2, generator=generator)
    length: Tensor = point.norm()
    return point[:size] / length


def _uniform_l1(size: int, generator: torch.Generator) -> Tensor:
    # Normalised exponential variables are uniform on the simplex. Without one coordinate and with
    # random signs, such a point is uniform in the l_1 ball.
    weights = -torch.log1p(-torch.rand(size + 1, generator=generator))
    signs = 2 * torch.randint(2, (size,), generator=generator) - 1
    return signs * weights[:size] / weights.sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientAttack:
    """A gradient attack with its restarts and targets.

    Args:
        attack: The Foolbox attack.
        norm: The norm of its ball.
        seed: Seed of the random starts.
        restarts: Number of runs from different random starts.
        targeted: True if each run moves towards one target class.
        max_targets: Number of other classes to target, by decreasing logit; None for all.
        finds_nearest: False, since the attack stays inside the ball of one radius.
    """

    attack: TrackedGradientAttack
    norm: Norm
    seed: int
    restarts: int = 1
    targeted: bool = False
    max_targets: int | None = None
    finds_nearest: bool = False

    def count_attempts(self, classes: int) -> int:
        """Return the number of (restart, target) pairs."""
        return self.restarts * self._count_targets(classes)

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
        classes = batch.clean_logits.shape[1]
        restart, target_rank = divmod(run.attempt, self._count_targets(classes))
        targets = None
        if self.targeted:
            targets = other_classes(batch.clean_logits, batch.labels)[:, target_rank]
        return self.attack.attack_batch(
            model,
            batch.inputs,
            batch.labels,
            eps=run.eps,
            starts=self._starting_points(batch, run, restart, context),
            targets=targets,
            on_progress=on_progress,
        )

    def _count_targets(self, classes: int) -> int:
        if not self.targeted:
            return 1
        if self.max_targets is None:
            return classes - 1
        return min(self.max_targets, classes - 1)

    def _starting_points(
        self, batch: AttackBatch, run: AttackRun, restart: int, context: Context
    ) -> Tensor | None:
        if not self.attack.random_start:
            return None
        starts = self._random_points(batch, run, restart, context)
        return bring_inside(starts, batch.inputs, norm=self.norm, eps=run.eps)

    def _random_points(
        self, batch: AttackBatch, run: AttackRun, restart: int, context: Context
    ) -> Tensor:
        shape = tuple(batch.inputs.shape[1:])
        noise = random_starts(
            batch.keys, shape, norm=self.norm, seed=self.seed, restart=restart, context=context
        )
        return batch.inputs + run.eps * noise.to(batch.inputs)
