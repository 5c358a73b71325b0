"""Attacks of a battery on its sample of test images.

A sample counts as broken only by an example that was checked again in float64 (see `examples`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from advtransfer.toolkit.kernel_batch import default_rows
from advtransfer.toolkit.randomized import MeanOfDraws
from advtransfer.toolkit.rng import Words, key_words
from advtransfer.types import Examples, Outcome, Samples, Shape
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.config import BatteryConfig
from advtransfer.worker.verification.examples import judging_logits, legal_examples
from advtransfer.worker.verification.image_gradients import ImageGradients, image_gradients

NOISE_BLOCK_VALUES = 2**25
"""Pixel values of random points held in memory at a time, 128 MiB in float32.

No outcome depends on it.
"""


@dataclass(frozen=True, slots=True)
class ProbeBatch:
    """Attacked samples, on the device: inputs ``(B, ...)`` and labels ``(B,)``; and their keys ``(B,)``."""

    inputs: Tensor
    labels: Tensor
    keys: Words

    @classmethod
    def at_positions(cls, test: Samples, positions: Tensor, device: torch.device) -> ProbeBatch:
        """Return the samples at these positions of a test part."""
        keys = key_words([test.keys[position] for position in positions.tolist()])
        return cls(test.inputs(positions).to(device), test.labels(positions).to(device), keys)

    def __getitem__(self, rows: Tensor) -> ProbeBatch:
        return ProbeBatch(self.inputs[rows], self.labels[rows], self.keys[rows.cpu().numpy()])

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
        model: In eval mode, with frozen weights; the mean over draws of a randomised one.
        test: The test part.
        positions: Positions of the samples in it, ``(B,)``.
        batch: The samples.
        ball: Ball that the attacked images stay in.
        battery_config: Amount of work.
        correct: Samples that are classified correctly without attack, ``(B,)`` bool; only these
            are attacked.

    Attributes:
        zero_gradient: Whether a gradient of a sample's ascents was exactly zero, ``(B,)`` bool.
        non_finite: Whether one of its logits or gradients was NaN or infinite, ``(B,)`` bool.
        saturated: Whether the gradient of cross-entropy at the image is exactly zero, ``(B,)`` bool.
        targets: The nearest classes, nearest first, ``(B, T)``.
        margin_gradients: Gradients at the images of the margin of the class of largest logit but
            the label, ``(B, ...)``.
        single_steps: Where one step along the gradient of cross-entropy leads, ``(B, ...)``.
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
    saturated: Tensor = field(init=False)
    targets: Tensor = field(init=False)
    margin_gradients: Tensor = field(init=False)
    single_steps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.zero_gradient = torch.zeros_like(self.correct)
        self.non_finite = torch.zeros_like(self.correct)
        self.saturated = torch.zeros_like(self.correct)
        self.margin_gradients = torch.zeros_like(self.batch.inputs)
        self.single_steps = self.batch.inputs.clone()

    def look_at_images(self, logits: Tensor) -> None:
        """Take the gradients at the correct images, which several attacks share.

        In l_1 the vertices of the ball are tried at once, to which linear models would fall.

        Args:
            logits: The model's logits for all samples, ``(B, K)``.
        """
        config, norm = self.battery_config, self.ball.threat.norm
        targets = min(config.l1_targets if norm == "l1" else config.targets, logits.shape[1] - 1)
        self.targets = torch.zeros(len(logits), targets, dtype=torch.int64, device=logits.device)
        self.start_outcomes("targeted")
        for rows in self.blocks(self.rows_left(), points=2 * targets):
            samples = self.batch[rows]
            gradients = image_gradients(
                self.model, samples.inputs, samples.labels, logits[rows], norm=norm, count=targets
            )
            self.targets[rows] = gradients.targets
            self.margin_gradients[rows] = gradients.likeliest_margin
            self.saturated[rows] = (gradients.cross_entropy.flatten(1) == 0).all(1)
            self.single_steps[rows] = self.ball.steepest_point(
                gradients.cross_entropy, samples.inputs
            )
            if norm == "l1":
                self._try_vertices(rows, gradients)

    def _try_vertices(self, rows: Tensor, gradients: ImageGradients) -> None:
        """Try the vertices of the l_1 ball that linear models would fall to, the nearest class first.

        The ascent, whose steps share the radius among pixels, comes near such a vertex only.
        """
        for margins in gradients.target_margins.unbind(1):
            unbroken = self.unbroken_of("targeted", rows)
            if not unbroken.any():
                return
            left = rows[unbroken]
            moved = self.ball.steepest_point(margins[unbroken], self.batch.inputs[left])
            self._try_points("targeted", left, moved)

    def attack_by_noise(self) -> None:
        """Try random points of the ball's surface, in blocks of about `NOISE_BLOCK_VALUES`."""
        values_per_sample = self.battery_config.noise_draws * math.prod(self.batch.input_shape)
        block_size = max(1, NOISE_BLOCK_VALUES // values_per_sample)
        rows = self.left_by_ascent()
        self.start_outcomes("noise")
        for block in torch.split(rows, block_size):
            self._try_noise(block)

    def _try_noise(self, rows: Tensor) -> None:
        """Try the random points of some samples, each until one breaks it."""
        targets = self.batch[rows]
        points = self.ball.surface_points(
            targets.keys, targets.input_shape, what="noise", draws=self.battery_config.noise_draws
        )
        # As many draws at once as fill a kernel: a kernel costs the same when it is half empty.
        draws_at_once = max(1, default_rows() // max(1, len(targets)))
        for draws in torch.split(points.to(targets.inputs), draws_at_once, dim=1):
            unbroken = self.unbroken_of("noise", rows).nonzero().flatten()
            if not len(unbroken):
                break
            repeated = unbroken.repeat_interleave(draws.shape[1])
            inputs = targets.inputs[repeated]
            moved = self.ball.project_back(inputs + draws[unbroken].flatten(0, 1), inputs)
            self._try_points("noise", rows[repeated], moved)

    def attack_in_single_step(self) -> None:
        """Try the points of the ball's surface to which the gradient of cross-entropy leads."""
        rows = self.left_by_ascent()
        self.start_outcomes("single_step")
        self._try_points("single_step", rows, self.single_steps[rows])

    def attack_by_transfer(self, points: Tensor) -> None:
        """Try examples that were made against another network, ``(B, ...)``."""
        rows = self.left_by_ascent()
        inputs = self.batch.inputs[rows]
        moved = self.ball.project_back(points.to(self.batch.inputs)[rows], inputs)
        self.start_outcomes("transferred")
        self._try_points("transferred", rows, moved)

    @property
    def is_randomized(self) -> bool:
        """Whether the model draws at random, and is attacked by the mean over its draws."""
        return isinstance(self.model, MeanOfDraws)

    @property
    def ascent_steps(self) -> int:
        """Number of steps of an ascent in the norm of the ball."""
        config = self.battery_config
        return config.l1_steps if self.ball.threat.norm == "l1" else config.steps

    @property
    def judged_model(self) -> nn.Module:
        """The model that decides whether a sample is broken."""
        return self.model.model if isinstance(self.model, MeanOfDraws) else self.model

    def correct_rows(self) -> Tensor:
        """Return the rows of the samples that are attacked."""
        return self.correct.nonzero().flatten()

    def left_by_ascent(self) -> Tensor:
        """Return the rows that the targeted ascent left: what others break of these, it has missed."""
        return (self.outcomes["targeted"] == Outcome.ROBUST).nonzero().flatten()

    def blocks(self, rows: Tensor, *, points: int) -> Sequence[Tensor]:
        """Return the rows in blocks, whose points are held in memory together; none of no rows.

        Args:
            rows: The rows.
            points: Number of points for each.
        """
        size = NOISE_BLOCK_VALUES // (points * math.prod(self.batch.input_shape))
        # At least as many as fill a kernel, which costs the same when it is half empty.
        return torch.split(rows, max(size, -(-default_rows() // points))) if len(rows) else ()

    def rows_left(self) -> Tensor:
        """Return the rows that no attack has broken."""
        left = torch.stack([values == Outcome.ROBUST for values in self.outcomes.values()]).all(0)
        return left.nonzero().flatten()

    def missed_by_ascent(self, name: str) -> Tensor:
        """Return the samples that this attack broke and the targeted ascent did not, ``(B,)`` bool."""
        broken = self.outcomes[name] == Outcome.BROKEN
        return broken & (self.outcomes["targeted"] == Outcome.ROBUST)

    def _try_points(self, name: str, rows: Tensor, points: Tensor) -> None:
        """Count the samples as broken whose points ``(rows, ...)`` the model misclassifies."""
        if not len(rows):
            return
        logits = judging_logits(self.judged_model, points, self.test, self.positions[rows.cpu()])
        # Non-finite logits break nothing; they have a check of their own.
        fooled = logits.isfinite().all(1) & (logits.argmax(1) != self.batch.labels[rows])
        self.break_samples(name, rows, points, fooled)

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
            model=self.judged_model,
            device=points.device,
        )
        self.outcomes[name][rows[legal.to(rows.device)]] = int(Outcome.BROKEN)
