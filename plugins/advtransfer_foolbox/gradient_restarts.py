"""Gradient attacks as an evaluation runs them.

Random starts per sample, restarts, targets, and warm starts at larger radii.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.types import Context, Shape
from advtransfer_foolbox.gradient_attacks import TrackedGradientAttack, other_classes
from advtransfer_foolbox.norms import bring_inside
from advtransfer_foolbox.options import Norm
from advtransfer_foolbox.protocols import AttackBatch, AttackRun, BatchResult, OnProgress


def random_starts(
    keys: Iterable[int], shape: Shape, *, norm: Norm, seed: int, restart: int, context: Context
) -> Tensor:
    """A uniform point of the unit ball for each sample, ``(B, *shape)``, drawn from (seed, sample key, restart)."""
    draw = {"linf": _uniform_linf, "l2": _uniform_l2, "l1": _uniform_l1}[norm]
    size = math.prod(shape)
    points = [draw(size, context.generator("attack", seed, key, restart)) for key in keys]
    return torch.stack(points).reshape(-1, *shape)


def _uniform_linf(size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(size, generator=generator) - 1


def _uniform_l2(size: int, generator: torch.Generator) -> Tensor:
    """Two coordinates dropped from a uniform point of the sphere (Voelker, Gosmann and Stewart, 2017)."""
    point = torch.randn(size + 2, generator=generator)
    length: Tensor = point.norm()
    return point[:size] / length


def _uniform_l1(size: int, generator: torch.Generator) -> Tensor:
    """One coordinate dropped from a uniform point of the simplex, the others with random signs."""
    weights = -torch.log1p(-torch.rand(size + 1, generator=generator))
    signs = 2 * torch.randint(2, (size,), generator=generator) - 1
    return signs * weights[:size] / weights.sum()


WARM_START_EXPONENT = 3
"""The power of the radius with which the steps of a warm start grow, up to all of them at the largest.

From a good start fewer find as much in a small ball; in a large one too few leave much standing, and few samples stand.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientAttack:
    """A gradient attack, its restarts and its targets.

    Args:
        watched: The Foolbox attack.
        norm: The norm of its ball.
        seed: Which random starts are drawn.
        restarts: Runs from other random starts.
        targeted: Whether each run moves towards one class.
        targets: How many of the other classes are targets, by falling logit; None for all.
        climbs: Whether a larger radius goes on from where the smaller one ended.
    """

    attack: TrackedGradientAttack
    norm: Norm
    seed: int
    restarts: int = 1
    targeted: bool = False
    max_targets: int | None = None
    warm_starts: bool = True
    finds_nearest: bool = False

    def count_attempts(self, classes: int) -> int:
        """One for each restart and target."""
        return self.restarts * self._count_targets(classes)

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
        restart, rank = divmod(rung.attempt, self._count_targets(block.clean_logits.shape[1]))
        return self.attack.attack_batch(
            model,
            block.inputs,
            block.labels,
            eps=rung.eps,
            starts=self._starting_points(block, rung, restart, context),
            targets=other_classes(block.clean_logits, block.labels)[:, rank]
            if self.targeted
            else None,
            steps=self._step_count(block, rung),
            tick=tick,
        )

    def _count_targets(self, classes: int) -> int:
        if not self.targeted:
            return 1
        return classes - 1 if self.max_targets is None else min(self.max_targets, classes - 1)

    def _starting_points(
        self, block: AttackBatch, rung: AttackRun, restart: int, context: Context
    ) -> Tensor | None:
        if block.warm_start is not None:
            # a point's rounding is stretched with it, and may leave the ball
            start = block.inputs + (block.warm_start - block.inputs) * (
                rung.eps / rung.previous_eps
            )
        elif self.attack.random_start:
            start = self._random_points(block, rung, restart, context)
        else:
            return None
        return bring_inside(start, block.inputs, norm=self.norm, eps=rung.eps)

    def _random_points(
        self, block: AttackBatch, rung: AttackRun, restart: int, context: Context
    ) -> Tensor:
        shape = tuple(block.inputs.shape[1:])
        noise = random_starts(
            block.keys, shape, norm=self.norm, seed=self.seed, restart=restart, context=context
        )
        return block.inputs + rung.eps * noise.to(block.inputs)

    def _step_count(self, block: AttackBatch, rung: AttackRun) -> int | None:
        """All of them; from where a smaller radius ended, the more the larger the ball."""
        if block.warm_start is None:
            return None
        share = (rung.eps / rung.largest_eps) ** WARM_START_EXPONENT
        return max(1, int(self.attack.steps * share + 1e-6))  # 9.9999999999 are 10 steps
