"""Attacks of a battery on its sample of test images; an evaluation in the same ball should not miss what they break."""

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
"""How many pixel values of random points are held at a time, 128 MiB in float32; no outcome depends on it."""


@dataclass(frozen=True, slots=True)
class ProbeBatch:
    """The samples that are probed, on the device: inputs ``(B, ...)``, labels and keys."""

    inputs: Tensor
    labels: Tensor
    keys: tuple[int, ...]

    @classmethod
    def at_positions(cls, test: Samples, positions: Tensor, device: torch.device) -> ProbeBatch:
        """The samples at these positions of a test part."""
        keys = tuple(test.keys[position] for position in positions.tolist())
        return cls(test.inputs(positions).to(device), test.labels(positions).to(device), keys)

    def __getitem__(self, rows: Tensor) -> ProbeBatch:
        return ProbeBatch(
            self.inputs[rows], self.labels[rows], tuple(self.keys[row] for row in rows.tolist())
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> Shape:
        """The shape of one input."""
        return tuple(self.inputs.shape[1:])


@dataclass(slots=True)
class BatteryAttacks:
    """The probes of one model in one ball; `outcomes` holds what became of each drawn sample, by probe.

    Args:
        model: In eval mode, its weights frozen.
        drawn: The samples.
        ball: Where they may be moved.
        battery: How much is done.
        right: Which samples are right without attack, ``(B,)`` bool; only these are attacked.
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
        self.zero_gradient, self.non_finite = (
            torch.zeros_like(self.correct),
            torch.zeros_like(self.correct),
        )

    def attack_by_noise(self) -> None:
        """Random points of the ball's surface, `NOISE_BLOCK_VALUES` pixels at a time (and at least one sample's)."""
        rows = self.correct.nonzero().flatten()
        size = max(
            1,
            NOISE_BLOCK_VALUES
            // (self.battery_config.noise_draws * math.prod(self.batch.input_shape)),
        )
        self._store_outcomes(
            "noise",
            rows,
            torch.cat(
                [self._broken_by_noise(self.batch[some]) for some in torch.split(rows, size)]
            ),
        )

    def _broken_by_noise(self, targets: ProbeBatch) -> Tensor:
        """Which of some samples any draw breaks, ``(B,)`` bool; as many draws at once as fill a kernel."""
        points = self.ball.surface_points(
            targets.keys, targets.input_shape, what="noise", draws=self.battery_config.noise_draws
        )
        broken = torch.zeros(len(targets), dtype=torch.bool, device=targets.inputs.device)
        for draws in torch.split(
            points.to(targets.inputs), max(1, KERNEL_BATCH // len(targets)), dim=1
        ):
            standing = (~broken).nonzero().flatten()
            if not len(standing):
                break
            inputs, labels = (
                one[standing].repeat_interleave(draws.shape[1], 0)
                for one in (targets.inputs, targets.labels)
            )
            moved = self.ball.project_back(inputs + draws[standing].flatten(0, 1), inputs)
            broken[standing] = self._misclassified(moved, labels).view(len(standing), -1).any(1)
        return broken

    def attack_in_single_step(self) -> Tensor:
        """One step of the whole radius; gives where cross-entropy's gradient is zero, ``(right samples,)`` bool."""
        rows = self.correct.nonzero().flatten()
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
        """Many steps up the margin, which a confident model cannot flatten as it does cross-entropy."""
        rows = self.correct.nonzero().flatten()
        found = self._ascend_from_random_start(
            rows, margin_loss, self.battery_config.steps, what="start"
        )
        self._note_gradients(rows, found)
        self._store_outcomes("more_steps", rows, found.broken)

    def attack_with_restarts(self) -> None:
        """From other starts, up the cross-entropy, whatever still stands; broken counts what `more_steps` broke."""
        broken = self.outcomes["more_steps"] == Outcome.BROKEN
        for number in range(self.battery_config.restarts):
            rows = (self.correct & ~broken).nonzero().flatten()
            if len(rows):
                found = self._ascend_from_random_start(
                    rows,
                    cross_entropy_loss,
                    self.battery_config.restart_steps,
                    what=f"restart {number}",
                )
                broken[rows] = found.broken
        rows = self.correct.nonzero().flatten()
        self._store_outcomes("restarts", rows, broken[rows])

    def attack_by_transfer(self, points: Tensor) -> None:
        """Examples made against another network, ``(B, ...)``."""
        rows = self.correct.nonzero().flatten()
        inputs = self.batch.inputs[rows]
        moved = self.ball.project_back(points.to(inputs)[rows], inputs)
        self._store_outcomes(
            "transferred", rows, self._misclassified(moved, self.batch.labels[rows])
        )

    def _ascend_from_random_start(
        self, rows: Tensor, loss: Loss, steps: int, *, what: str
    ) -> AscentResult:
        targets, eps = self.batch[rows], self.ball.threat.eps
        surface = self.ball.surface_points(
            targets.keys, self.batch.input_shape, what=what, draws=1
        )[:, 0].to(targets.inputs)
        start = self.ball.project_back(targets.inputs + surface / 2, targets.inputs)
        return gradient_ascent(
            self.model,
            targets.inputs,
            targets.labels,
            ball=self.ball,
            start=start,
            steps=steps,
            step=eps / 4,
            loss=loss,
        )

    def _note_gradients(self, rows: Tensor, found: AscentResult) -> None:
        self.zero_gradient[rows] |= found.zero_gradient
        self.non_finite[rows] |= found.non_finite

    def _misclassified(self, points: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(self.model, points)
        return logits.isfinite().all(1) & (logits.argmax(1) != labels)

    def _store_outcomes(self, name: str, rows: Tensor, broken: Tensor) -> None:
        outcomes = torch.full(
            (len(self.batch),), int(Outcome.WRONG), dtype=torch.uint8, device=rows.device
        )
        outcomes[rows] = torch.where(broken, int(Outcome.BROKEN), int(Outcome.ROBUST)).to(
            torch.uint8
        )
        self.outcomes[name] = outcomes


def source_examples(
    source: Callable[[Tensor], Tensor], drawn: ProbeBatch, *, ball: Ball, steps: int
) -> Tensor:
    """Examples against another network, which need no labels: each is moved away from what that network says.

    Args:
        source: From target inputs ``(B, ...)`` to that network's own logits; its weights frozen.
        drawn: The samples.
        ball: Where they may be moved.
        steps: How many.
    """
    module = _FunctionModule(source)
    said = logits_of(module, drawn.inputs).argmax(1)
    surface = ball.surface_points(drawn.keys, drawn.input_shape, what="source", draws=1)[:, 0].to(
        drawn.inputs
    )
    start = ball.project_back(drawn.inputs + surface / 2, drawn.inputs)
    step = ball.threat.eps / 2
    return gradient_ascent(
        module,
        drawn.inputs,
        said,
        ball=ball,
        start=start,
        steps=steps,
        step=step,
        loss=cross_entropy_loss,
        on=True,
    ).points


class _FunctionModule(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(inputs)
