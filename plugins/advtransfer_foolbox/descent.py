"""Gradient attacks as an evaluation uses them: restarts, targets, and rungs climbed from where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass

from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.types import Context
from advtransfer_foolbox.attacks import Watched
from advtransfer_foolbox.balls import inside
from advtransfer_foolbox.contract import Block, Reached, Rung, Tick
from advtransfer_foolbox.objectives import others
from advtransfer_foolbox.settings import Norm
from advtransfer_foolbox.starts import starts

GROWTH = 3
"""The power of the radius with which the steps of a warm start grow, up to all of them at the largest.

From a good start fewer find as much in a small ball; in a large one too few leave much standing, and few samples stand.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
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

    watched: Watched
    norm: Norm
    seed: int
    restarts: int = 1
    targeted: bool = False
    targets: int | None = None
    climbs: bool = True
    nearest: bool = False

    def attempts(self, classes: int) -> int:
        """One for each restart and target."""
        return self.restarts * self._targets(classes)

    def strike(self, model: PyTorchModel, block: Block, rung: Rung, *, context: Context, tick: Tick) -> Reached:
        """Attack every sample of the block once."""
        restart, rank = divmod(rung.attempt, self._targets(block.logits.shape[1]))
        return self.watched.reach(
            model,
            block.inputs,
            block.labels,
            eps=rung.eps,
            starts=self._start(block, rung, restart, context),
            targets=others(block.logits, block.labels)[:, rank] if self.targeted else None,
            steps=self._steps(block, rung),
            tick=tick,
        )

    def _targets(self, classes: int) -> int:
        if not self.targeted:
            return 1
        return classes - 1 if self.targets is None else min(self.targets, classes - 1)

    def _start(self, block: Block, rung: Rung, restart: int, context: Context) -> Tensor | None:
        if block.left is not None:
            # a point's rounding is stretched with it, and may leave the ball
            start = block.inputs + (block.left - block.inputs) * (rung.eps / rung.below)
        elif self.watched.random_start:
            start = self._drawn(block, rung, restart, context)
        else:
            return None
        return inside(start, block.inputs, norm=self.norm, eps=rung.eps)

    def _drawn(self, block: Block, rung: Rung, restart: int, context: Context) -> Tensor:
        shape = tuple(block.inputs.shape[1:])
        noise = starts(block.keys, shape, norm=self.norm, seed=self.seed, restart=restart, context=context)
        return block.inputs + rung.eps * noise.to(block.inputs)

    def _steps(self, block: Block, rung: Rung) -> int | None:
        """All of them; from where a smaller radius ended, the more the larger the ball."""
        if block.left is None:
            return None
        share = (rung.eps / rung.largest) ** GROWTH
        return max(1, int(self.watched.steps * share + 1e-6))  # 9.9999999999 are 10 steps
