"""Attacks of a battery on its sample of test images.

A sample counts as broken only by an example that was checked again in float64 (see `examples`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.types import Examples, Outcome, Samples, Shape
from advtransfer.worker.verification.ascent import (
    AscentResult,
    cross_entropy_loss,
    gradient_ascent,
    logits_and_gradient,
    logits_of,
    nearest_targets,
    targeted_margin_loss,
)
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.config import BatteryConfig
from advtransfer.worker.verification.examples import legal_examples
from advtransfer.worker.verification.sparse_ascent import sparse_ascent

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
        test: The test part.
        positions: Positions of the samples in it, ``(B,)``.
        batch: The samples.
        ball: Ball that the attacked images stay in.
        battery_config: Amount of work.
        correct: Samples that are classified correctly without attack, ``(B,)`` bool; only these
            are attacked.
    """

    model: nn.Module
    test: Samples
    positions: Tensor
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
        values_per_sample = self.battery_config.noise_draws * math.prod(self.batch.input_shape)
        block_size = max(1, NOISE_BLOCK_VALUES // values_per_sample)
        self.start_outcomes("noise")
        for rows in torch.split(self.correct_rows(), block_size):
            self._try_noise(rows)

    def _try_noise(self, rows: Tensor) -> None:
        """Try the random points of some samples, each until one breaks it."""
        targets = self.batch[rows]
        points = self.ball.surface_points(
            targets.keys, targets.input_shape, what="noise", draws=self.battery_config.noise_draws
        )
        # As many draws at once as fill a kernel: a kernel costs the same when it is half empty.
        draws_at_once = max(1, KERNEL_BATCH // len(targets))
        for draws in torch.split(points.to(targets.inputs), draws_at_once, dim=1):
            unbroken = self.unbroken_of("noise", rows).nonzero().flatten()
            if not len(unbroken):
                break
            repeated = unbroken.repeat_interleave(draws.shape[1])
            inputs = targets.inputs[repeated]
            moved = self.ball.project_back(inputs + draws[unbroken].flatten(0, 1), inputs)
            misclassified = self._misclassified(moved, targets.labels[repeated])
            self.break_samples("noise", rows[repeated], moved, misclassified)

    def attack_in_single_step(self) -> Tensor:
        """Take one step to where the gradient of cross-entropy points, on the surface of the ball.

        Returns:
            Whether that gradient is exactly zero, ``(correct samples,)`` bool.
        """
        rows = self.correct_rows()
        targets = self.batch[rows]
        _, gradient = logits_and_gradient(
            self.model, targets.inputs, targets.labels, cross_entropy_loss
        )
        moved = self.ball.steepest_point(gradient, targets.inputs)
        self.start_outcomes("single_step")
        self.break_samples("single_step", rows, moved, self._misclassified(moved, targets.labels))
        return (gradient.flatten(1) == 0).all(1)

    def attack_by_targeted_ascent(self) -> None:
        """Ascend the margin of each nearest class from random starts, each sample until it breaks.

        The margin keeps a gradient where a confident model flattens that of cross-entropy, and
        aiming at several classes finds what the steepest way alone misses. This is the strongest
        attack of a battery.
        """
        config = self.battery_config
        is_l1 = self.ball.threat.norm == "l1"
        steps = config.l1_steps if is_l1 else config.steps
        rows = self.correct_rows()
        correct = self.batch[rows]
        classes = nearest_targets(
            self.model,
            correct.inputs,
            correct.labels,
            norm=self.ball.threat.norm,
            count=config.l1_targets if is_l1 else config.targets,
        )
        self.start_outcomes("targeted")
        for start in range(config.starts):
            for rank in range(classes.shape[1]):
                if is_l1 and start == 0:
                    self._try_vertices(rows, classes[:, rank])
                unbroken = self.unbroken_of("targeted", rows)
                if not unbroken.any():
                    return
                what = f"start {start} of target {rank}"
                self._ascend_to_targets(rows[unbroken], classes[unbroken, rank], steps, what=what)

    def _try_vertices(self, rows: Tensor, targets: Tensor) -> None:
        """Try the vertex of the l_1 ball that a linear model would fall to.

        The ascent, whose steps share the radius among pixels, comes near such a vertex only.
        """
        unbroken = self.unbroken_of("targeted", rows)
        if not unbroken.any():
            return
        rows, targets = rows[unbroken], targets[unbroken]
        samples = self.batch[rows]
        classes = torch.stack([samples.labels, targets], dim=1)
        _, gradient = logits_and_gradient(self.model, samples.inputs, classes, targeted_margin_loss)
        moved = self.ball.steepest_point(gradient, samples.inputs)
        misclassified = self._misclassified(moved, samples.labels)
        self.break_samples("targeted", rows, moved, misclassified)

    def _ascend_to_targets(self, rows: Tensor, targets: Tensor, steps: int, *, what: str) -> None:
        samples = self.batch[rows]
        result = _ascent_in(self.ball)(
            self.model,
            samples.inputs,
            samples.labels,
            ball=self.ball,
            start=self.ball.random_start(samples.inputs, samples.keys, what=what),
            steps=steps,
            loss=targeted_margin_loss,
            targets=targets,
        )
        self.zero_gradient[rows] |= result.zero_gradient
        self.non_finite[rows] |= result.non_finite
        self.break_samples("targeted", rows, result.points, result.broken)

    def attack_by_transfer(self, points: Tensor) -> None:
        """Try examples that were made against another network, ``(B, ...)``."""
        rows = self.correct_rows()
        inputs = self.batch.inputs[rows]
        moved = self.ball.project_back(points.to(inputs)[rows], inputs)
        misclassified = self._misclassified(moved, self.batch.labels[rows])
        self.start_outcomes("transferred")
        self.break_samples("transferred", rows, moved, misclassified)

    def correct_rows(self) -> Tensor:
        """Return the rows of the samples that are attacked."""
        return self.correct.nonzero().flatten()

    def rows_left(self) -> Tensor:
        """Return the rows that no attack has broken."""
        left = torch.stack([values == Outcome.ROBUST for values in self.outcomes.values()]).all(0)
        return left.nonzero().flatten()

    def missed_by_ascent(self, name: str) -> Tensor:
        """Return the samples that this attack broke and the targeted ascent did not, ``(B,)`` bool."""
        broken = self.outcomes[name] == Outcome.BROKEN
        return broken & (self.outcomes["targeted"] == Outcome.ROBUST)

    def _misclassified(self, points: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(self.model, points)
        # Non-finite logits break nothing; they have a check of their own.
        return logits.isfinite().all(1) & (logits.argmax(1) != labels)

    def start_outcomes(self, name: str) -> None:
        """Begin an attack: all correct samples are robust."""
        self.outcomes[name] = torch.where(self.correct, int(Outcome.ROBUST), int(Outcome.WRONG)).to(
            torch.uint8
        )

    def unbroken_of(self, name: str, rows: Tensor) -> Tensor:
        """Return which of the rows this attack has not broken, ``(rows,)`` bool."""
        return self.outcomes[name][rows] == Outcome.ROBUST

    def break_samples(self, name: str, rows: Tensor, points: Tensor, broken: Tensor) -> None:
        """Count the samples as broken whose points pass the host's check of norm, box and label."""
        rows, points = rows[broken], points[broken]
        norm, eps = self.ball.threat.norm, self.ball.threat.eps
        legal = legal_examples(
            Examples(name, norm, eps, self.positions[rows.cpu()], points),
            test=self.test,
            model=self.model,
            device=points.device,
        )
        self.outcomes[name][rows[legal.to(rows.device)]] = int(Outcome.BROKEN)


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
    return _ascent_in(ball)(
        module,
        batch.inputs,
        predicted,
        ball=ball,
        start=ball.random_start(batch.inputs, batch.keys, what="source"),
        steps=steps,
        loss=cross_entropy_loss,
        on=True,
    ).points


def _ascent_in(ball: Ball) -> Callable[..., AscentResult]:
    """Return the ascent in the norm of a ball."""
    return sparse_ascent if ball.threat.norm == "l1" else gradient_ascent


class _FunctionModule(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the function's outputs."""
        return self.function(inputs)
