"""Attacks on the drawn samples, each told per sample: what an evaluation in the same ball should not have missed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.trial.battery.ball import Ball
from advtransfer.trial.battery.climb import Climbed, Loss, climb, cross_entropy, logits_of, margin, slopes
from advtransfer.trial.battery.design import Battery
from advtransfer.types import Outcome, Samples, Shape

BLOCK = 2**25
"""How many pixel values of random points are held at a time, 128 MiB in float32; no outcome depends on it."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples that are probed, on the device: inputs ``(B, ...)``, labels and keys."""

    inputs: Tensor
    labels: Tensor
    keys: tuple[int, ...]

    @classmethod
    def of(cls, test: Samples, positions: Tensor, device: torch.device) -> Drawn:
        """The samples at these positions of a test part."""
        keys = tuple(test.keys[position] for position in positions.tolist())
        return cls(test.inputs(positions).to(device), test.labels(positions).to(device), keys)

    def __getitem__(self, rows: Tensor) -> Drawn:
        return Drawn(self.inputs[rows], self.labels[rows], tuple(self.keys[row] for row in rows.tolist()))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shape:
        """The shape of one input."""
        return tuple(self.inputs.shape[1:])


@dataclass(slots=True)
class Probes:
    """The probes of one model in one ball; `outcomes` holds what became of each drawn sample, by probe.

    Args:
        model: In eval mode, its weights frozen.
        drawn: The samples.
        ball: Where they may be moved.
        battery: How much is done.
        right: Which samples are right without attack, ``(B,)`` bool; only these are attacked.
    """

    model: nn.Module
    drawn: Drawn
    ball: Ball
    battery: Battery
    right: Tensor
    outcomes: dict[str, Tensor] = field(default_factory=dict)
    flat: Tensor = field(init=False)
    infinite: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.flat, self.infinite = torch.zeros_like(self.right), torch.zeros_like(self.right)

    def noise(self) -> None:
        """Random points of the ball's surface, `BLOCK` pixels at a time (and at least one sample's)."""
        rows = self.right.nonzero().flatten()
        size = max(1, BLOCK // (self.battery.noise * math.prod(self.drawn.shape)))
        self._keep("noise", rows, torch.cat([self._by_noise(self.drawn[some]) for some in torch.split(rows, size)]))

    def _by_noise(self, targets: Drawn) -> Tensor:
        """Which of some samples any draw breaks, ``(B,)`` bool; as many draws at once as fill a kernel."""
        points = self.ball.surface(targets.keys, targets.shape, what="noise", draws=self.battery.noise)
        broken = torch.zeros(len(targets), dtype=torch.bool, device=targets.inputs.device)
        for draws in torch.split(points.to(targets.inputs), max(1, KERNEL_BATCH // len(targets)), dim=1):
            standing = (~broken).nonzero().flatten()
            if not len(standing):
                break
            inputs, labels = (
                one[standing].repeat_interleave(draws.shape[1], 0) for one in (targets.inputs, targets.labels)
            )
            moved = self.ball.back(inputs + draws[standing].flatten(0, 1), inputs)
            broken[standing] = self._wrong(moved, labels).view(len(standing), -1).any(1)
        return broken

    def single_step(self) -> Tensor:
        """One step of the whole radius; gives where cross-entropy's gradient is zero, ``(right samples,)`` bool."""
        rows = self.right.nonzero().flatten()
        targets = self.drawn[rows]
        _, gradient = slopes(self.model, targets.inputs, targets.labels, cross_entropy)
        moved = self.ball.move(targets.inputs, gradient, step=self.ball.threat.eps, inputs=targets.inputs)
        self._keep("single_step", rows, self._wrong(moved, targets.labels))
        return (gradient.flatten(1) == 0).all(1)

    def more_steps(self) -> None:
        """Many steps up the margin, which a confident model cannot flatten as it does cross-entropy."""
        rows = self.right.nonzero().flatten()
        found = self._climb(rows, margin, self.battery.steps, what="start")
        self._see(rows, found)
        self._keep("more_steps", rows, found.broken)

    def restarts(self) -> None:
        """From other starts, up the cross-entropy, whatever still stands; broken counts what `more_steps` broke."""
        broken = self.outcomes["more_steps"] == Outcome.BROKEN
        for number in range(self.battery.restarts):
            rows = (self.right & ~broken).nonzero().flatten()
            if len(rows):
                found = self._climb(rows, cross_entropy, self.battery.restart_steps, what=f"restart {number}")
                broken[rows] = found.broken
        rows = self.right.nonzero().flatten()
        self._keep("restarts", rows, broken[rows])

    def transferred(self, points: Tensor) -> None:
        """Examples made against another network, ``(B, ...)``."""
        rows = self.right.nonzero().flatten()
        inputs = self.drawn.inputs[rows]
        moved = self.ball.back(points.to(inputs)[rows], inputs)
        self._keep("transferred", rows, self._wrong(moved, self.drawn.labels[rows]))

    def _climb(self, rows: Tensor, loss: Loss, steps: int, *, what: str) -> Climbed:
        targets, eps = self.drawn[rows], self.ball.threat.eps
        surface = self.ball.surface(targets.keys, self.drawn.shape, what=what, draws=1)[:, 0].to(targets.inputs)
        start = self.ball.back(targets.inputs + surface / 2, targets.inputs)
        return climb(
            self.model,
            targets.inputs,
            targets.labels,
            ball=self.ball,
            start=start,
            steps=steps,
            step=eps / 4,
            loss=loss,
        )

    def _see(self, rows: Tensor, found: Climbed) -> None:
        self.flat[rows] |= found.flat
        self.infinite[rows] |= found.infinite

    def _wrong(self, points: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(self.model, points)
        return logits.isfinite().all(1) & (logits.argmax(1) != labels)

    def _keep(self, name: str, rows: Tensor, broken: Tensor) -> None:
        outcomes = torch.full((len(self.drawn),), int(Outcome.WRONG), dtype=torch.uint8, device=rows.device)
        outcomes[rows] = torch.where(broken, int(Outcome.BROKEN), int(Outcome.ROBUST)).to(torch.uint8)
        self.outcomes[name] = outcomes


def source_examples(source: Callable[[Tensor], Tensor], drawn: Drawn, *, ball: Ball, steps: int) -> Tensor:
    """Examples against another network, which need no labels: each is moved away from what that network says.

    Args:
        source: From target inputs ``(B, ...)`` to that network's own logits; its weights frozen.
        drawn: The samples.
        ball: Where they may be moved.
        steps: How many.
    """
    module = _Called(source)
    said = logits_of(module, drawn.inputs).argmax(1)
    surface = ball.surface(drawn.keys, drawn.shape, what="source", draws=1)[:, 0].to(drawn.inputs)
    start = ball.back(drawn.inputs + surface / 2, drawn.inputs)
    step = ball.threat.eps / 2
    return climb(
        module, drawn.inputs, said, ball=ball, start=start, steps=steps, step=step, loss=cross_entropy, on=True
    ).points


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(inputs)
