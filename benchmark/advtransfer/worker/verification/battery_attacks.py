"""Attacks of a battery on its sample of test images.

An evaluation in the same ball should not miss samples that they break.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.types import Outcome, Samples, Shape
from advtransfer.worker.verification.ascent import (
    AscentResult,
    Ball,
    Loss,
    cross_entropy_loss,
    gradient_ascent,
    logits_and_gradient,
    logits_of,
    margin_loss,
)
from advtransfer.worker.verification.config import BatteryConfig

NOISE_BLOCK_VALUES = 2**25
"""Pixel values of random points held in memory at a time, 128 MiB in float32.

No outcome depends on it.
"""


@dataclass(frozen=True, slots=True)
class ProbeBatch:
    """Attacked samples, on the device: inputs ``(B, ...)``, labels ``(B,)`` and keys."""

    inputs: Tensor
    labels: Tensor
    keys: tuple[int, ...]

    @classmethod
    def at_positions(cls, test: Samples, positions: Tensor, device: torch.device) -> ProbeBatch:
        """Return the samples at these positions of a test part."""
        keys = tuple(test.keys[position] for position in positions.tolist())
        return cls(test.inputs(positions).to(device), test.labels(positions).to(device), keys)

    def __getitem__(self, rows: Tensor) -> ProbeBatch:
        keys = tuple(self.keys[row] for row in rows.tolist())
        return ProbeBatch(self.inputs[rows], self.labels[rows], keys)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> Shape:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])


@dataclass(slots=True)
class BatteryAttacks:
    """Attacks on one model in one ball; `outcomes` holds the `Outcome` of each sample, by attack.

    Args:
        model: In eval mode, with frozen weights.
        batch: The samples.
        ball: Ball that the attacked images stay in.
        battery_config: Amount of work.
        correct: Samples that are classified correctly without attack, ``(B,)`` bool; only these
            are attacked.
    """

    model: nn.Module
    batch: ProbeBatch
    ball: Ball
    battery_config: BatteryConfig
    correct: Tensor
    outcomes: dict[str, Tensor] = field(default_factory=dict)
    zero_gradient: Tensor = field(init=False)
    non_finite: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.zero_gradient = torch.zeros_like(self.correct)
        self.non_finite = torch.zeros_like(self.correct)

    def attack_by_noise(self) -> None:
        """Try random points of the ball's surface, in blocks of about `NOISE_BLOCK_VALUES`."""
        rows = self._correct_rows()
        values_per_sample = self.battery_config.noise_draws * math.prod(self.batch.input_shape)
        block_size = max(1, NOISE_BLOCK_VALUES // values_per_sample)
        broken = [
            self._broken_by_noise(self.batch[block]) for block in torch.split(rows, block_size)
        ]
        self._store_outcomes("noise", rows, torch.cat(broken))

    def _broken_by_noise(self, targets: ProbeBatch) -> Tensor:
        """Return the samples that any random point breaks, ``(B,)`` bool."""
        points = self.ball.surface_points(
            targets.keys, targets.input_shape, what="noise", draws=self.battery_config.noise_draws
        )
        broken = torch.zeros(len(targets), dtype=torch.bool, device=targets.inputs.device)
        # As many draws at once as fill a kernel: a kernel costs the same when it is half empty.
        draws_at_once = max(1, KERNEL_BATCH // len(targets))
        for draws in torch.split(points.to(targets.inputs), draws_at_once, dim=1):
            unbroken = (~broken).nonzero().flatten()
            if not len(unbroken):
                break
            inputs = targets.inputs[unbroken].repeat_interleave(draws.shape[1], 0)
            labels = targets.labels[unbroken].repeat_interleave(draws.shape[1], 0)
            moved = self.ball.project_back(inputs + draws[unbroken].flatten(0, 1), inputs)
            misclassified = self._misclassified(moved, labels)
            broken[unbroken] = misclassified.view(len(unbroken), -1).any(1)
        return broken

    def attack_in_single_step(self) -> Tensor:
        """Take one step of length eps along the gradient of cross-entropy.

        Returns:
            Whether that gradient is exactly zero, ``(correct samples,)`` bool.
        """
        rows = self._correct_rows()
        targets = self.batch[rows]
        _, gradient = logits_and_gradient(
            self.model, targets.inputs, targets.labels, cross_entropy_loss
        )
        moved = self.ball.take_step(
            targets.inputs, gradient, step=self.ball.threat.eps, inputs=targets.inputs
        )
        self._store_outcomes("single_step", rows, self._misclassified(moved, targets.labels))
        return (gradient.flatten(1) == 0).all(1)

    def attack_with_more_steps(self) -> None:
        """Ascend the margin in many steps.

        The margin keeps a gradient where a confident model flattens that of cross-entropy.
        """
        rows = self._correct_rows()
        steps = self.battery_config.steps
        result = self._ascend_from_random_start(rows, margin_loss, steps, what="start")
        self.zero_gradient[rows] |= result.zero_gradient
        self.non_finite[rows] |= result.non_finite
        self._store_outcomes("more_steps", rows, result.broken)

    def attack_with_restarts(self) -> None:
        """Ascend cross-entropy from other starts, for samples that `more_steps` did not break.

        The outcomes include what `more_steps` broke.
        """
        broken = self.outcomes["more_steps"] == Outcome.BROKEN
        steps = self.battery_config.restart_steps
        for number in range(self.battery_config.restarts):
            unbroken = (self.correct & ~broken).nonzero().flatten()
            if len(unbroken):
                result = self._ascend_from_random_start(
                    unbroken, cross_entropy_loss, steps, what=f"restart {number}"
                )
                broken[unbroken] = result.broken
        rows = self._correct_rows()
        self._store_outcomes("restarts", rows, broken[rows])

    def attack_by_transfer(self, points: Tensor) -> None:
        """Try examples that were made against another network, ``(B, ...)``."""
        rows = self._correct_rows()
        inputs = self.batch.inputs[rows]
        moved = self.ball.project_back(points.to(inputs)[rows], inputs)
        misclassified = self._misclassified(moved, self.batch.labels[rows])
        self._store_outcomes("transferred", rows, misclassified)

    def _correct_rows(self) -> Tensor:
        return self.correct.nonzero().flatten()

    def _ascend_from_random_start(
        self, rows: Tensor, loss: Loss, steps: int, *, what: str
    ) -> AscentResult:
        targets = self.batch[rows]
        return gradient_ascent(
            self.model,
            targets.inputs,
            targets.labels,
            ball=self.ball,
            start=_random_start(targets, self.ball, what=what),
            steps=steps,
            step=self.ball.threat.eps / 4,
            loss=loss,
        )

    def _misclassified(self, points: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(self.model, points)
        # Non-finite logits break nothing; they have a check of their own.
        return logits.isfinite().all(1) & (logits.argmax(1) != labels)

    def _store_outcomes(self, name: str, rows: Tensor, broken: Tensor) -> None:
        # Samples outside `rows` are wrong without attack.
        outcomes = torch.full(
            (len(self.batch),), int(Outcome.WRONG), dtype=torch.uint8, device=rows.device
        )
        attacked = torch.where(broken, int(Outcome.BROKEN), int(Outcome.ROBUST))
        outcomes[rows] = attacked.to(torch.uint8)
        self.outcomes[name] = outcomes


def source_examples(
    source: Callable[[Tensor], Tensor], batch: ProbeBatch, *, ball: Ball, steps: int
) -> Tensor:
    """Return examples against another network, ``(B, ...)``.

    They need no labels: each is moved away from the class that the network predicts.

    Args:
        source: From target inputs ``(B, ...)`` to that network's own logits; its weights frozen.
        batch: The samples.
        ball: Ball that the examples stay in.
        steps: Number of steps.
    """
    module = _FunctionModule(source)
    predicted = logits_of(module, batch.inputs).argmax(1)
    # Broken samples go on: an example that is far over the boundary transfers better.
    return gradient_ascent(
        module,
        batch.inputs,
        predicted,
        ball=ball,
        start=_random_start(batch, ball, what="source"),
        steps=steps,
        step=ball.threat.eps / 2,
        loss=cross_entropy_loss,
        on=True,
    ).points


def _random_start(batch: ProbeBatch, ball: Ball, *, what: str) -> Tensor:
    """Return random points at half the radius, ``(B, ...)``, drawn from the stream `what`."""
    drawn = ball.surface_points(batch.keys, batch.input_shape, what=what, draws=1)
    surface = drawn[:, 0].to(batch.inputs)
    return ball.project_back(batch.inputs + surface / 2, batch.inputs)


class _FunctionModule(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the function's outputs."""
        return self.function(inputs)
