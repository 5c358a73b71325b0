"""Attacks on one model and test part, at one radius after another, smallest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.bounded import Bounded
from advtransfer.toolkit.prediction import KERNEL_BATCH, apply_in_chunks
from advtransfer.types import Context, Outcome
from advtransfer_foolbox.accuracy import Clean
from advtransfer_foolbox.budget import boxed, distances, reach
from advtransfer_foolbox.contract import Attack, Block, Reached, Rung
from advtransfer_foolbox.settings import Norm

BLOCK = 2**25
"""How many pixel values of attacked images are held at a time; no outcome depends on it."""


@dataclass(frozen=True, slots=True)
class Example:
    """The nearest example found for a sample: the image ``(C, H, W)`` and how far it is."""

    point: Tensor
    distance: float


@dataclass(slots=True, kw_only=True)
class Climb:
    """What has been found so far, and on what it is found.

    A sample broken at a smaller radius is broken at a larger one, by the same example, and is not attacked again.

    Args:
        attacks: Attacks, each run on what those before it left standing.
        model: The Foolbox model.
        test: The samples.
        clean: What the model says without attack; only samples that are right are attacked.
        norm: The norm of the ball.
        radii: The radii to come, rising.
        context: What the host lends.

    Attributes:
        examples: The nearest example of each sample that has one, by position.
        forwards: How often the model was evaluated for each sample, ``(N,)`` int64.
        gradients: How often the gradient was, ``(N,)`` int64.
    """

    attacks: Sequence[Attack]
    model: PyTorchModel
    test: Bounded
    clean: Clean
    norm: Norm
    radii: Sequence[float]
    context: Context
    examples: dict[int, Example] = field(default_factory=dict)
    forwards: Tensor = field(init=False)
    gradients: Tensor = field(init=False)
    _unfinished: Tensor = field(init=False)
    _left: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)
    _below: float = 0.0
    _passes: int = 0
    _rung: int = 0

    def __post_init__(self) -> None:
        count = len(self.test)
        self.forwards = torch.ones(count, dtype=torch.int64)  # the one without attack
        self.gradients = torch.zeros(count, dtype=torch.int64)
        self._unfinished = torch.zeros(count, dtype=torch.bool)

    def up(self, eps: float) -> Tensor:
        """Outcomes ``(N,)`` uint8 at a radius larger than those before; with 0 there is nothing to try."""
        outcomes, self._rung = self.clean.outcomes.clone(), self._rung + 1
        if eps <= 0:
            return outcomes
        outcomes[self.within(eps)] = int(Outcome.BROKEN)
        for index, attack in enumerate(self.attacks):
            once = attack.nearest and self._below > 0
            for attempt in range(0 if once else attack.attempts(self._classes)):
                self._attempt(index, Rung(eps, attempt, self._below, self.radii[-1]), outcomes)
        # an unfinished attempt leaves a sample unknown at its radius and at every larger one, however others end
        outcomes[self._unfinished & (outcomes == Outcome.ROBUST)] = int(Outcome.UNKNOWN)
        self._below = eps
        return outcomes

    def within(self, eps: float) -> list[int]:
        """The positions of the samples with an example in the ball, in order."""
        return sorted(position for position, one in self.examples.items() if one.distance <= reach(eps))

    def distances(self) -> Tensor:
        """The distance of each sample's nearest example, ``(N,)`` float64; 0 for a wrong sample, infinite for none."""
        found = torch.full((len(self.test),), math.inf, dtype=torch.float64)
        found[self.clean.outcomes == Outcome.WRONG] = 0.0
        for position, one in self.examples.items():
            found[position] = one.distance
        return found

    @property
    def _classes(self) -> int:
        return self.clean.logits.shape[1]

    def _attempt(self, index: int, rung: Rung, outcomes: Tensor) -> None:
        """Run one attack once on everything that stands; `outcomes` are updated."""
        standing = ((self.clean.outcomes == Outcome.ROBUST) & (outcomes != Outcome.BROKEN)).nonzero().flatten()
        size = max(KERNEL_BATCH, BLOCK // math.prod(self.test.card.shape))
        for start in range(0, len(standing), size):
            self._strike(index, rung, standing[start : start + size], outcomes, before=start)
        self._passes += 1

    def _strike(self, index: int, rung: Rung, positions: Tensor, outcomes: Tensor, *, before: int) -> None:
        block = self._block(index, rung, positions)
        count = len(self.test)
        passes = len(self.radii) * sum(attack.attempts(self._classes) for attack in self.attacks)

        def tick(done: int) -> None:
            self.context.progress(self._passes * count + before + done, passes * count)

        attack = self.attacks[index]
        reached = attack.strike(self.model, block, rung, context=self.context, tick=tick)
        found = self._judged(block, reached, rung.eps, nearest=attack.nearest)
        self._unfinished[positions] |= found.unfinished
        outcomes[positions[found.broken]] = int(Outcome.BROKEN)
        self.forwards[positions] += reached.forwards.cpu() + 1
        self.gradients[positions] += reached.gradients.cpu()
        self._keep(positions[found.kept], found.points[found.kept], found.distances[found.kept])
        if attack.climbs and self._rung < len(self.radii):
            ends = zip(positions[~found.broken].tolist(), found.points[~found.broken], strict=True)
            self._left |= {(index, rung.attempt, position): point for position, point in ends}

    def _block(self, index: int, rung: Rung, positions: Tensor) -> Block:
        device, rows = self.context.device, positions.tolist()
        left = None
        if self.attacks[index].climbs and self._below > 0:
            left = torch.stack([self._left[index, rung.attempt, row] for row in rows]).to(device)
        return Block(
            keys=[self.test.keys[row] for row in rows],
            inputs=self.test.inputs(positions).to(device),
            labels=self.test.labels(positions).to(device),
            logits=self.clean.logits[positions].to(device),
            left=left,
        )

    def _judged(self, block: Block, reached: Reached, eps: float, *, nearest: bool) -> _Judged:
        """What an attack's points are worth, by logits and distances of our own."""
        with torch.no_grad():
            logits = apply_in_chunks(self.model, reached.inputs)
        away = distances(reached.inputs, block.inputs, norm=self.norm)
        inside, sound = away <= reach(eps), boxed(reached.inputs) & logits.isfinite().all(1)
        missed = sound & (logits.argmax(1) != block.labels)
        # where the attack stopped at an example that is none here, nobody has looked further
        lost = reached.found & ~missed
        finished = sound & reached.finite & (inside | nearest) & ~lost
        broken = missed & inside
        kept, unfinished = missed & (inside | nearest), ~finished & ~broken
        return _Judged(broken.cpu(), unfinished.cpu(), kept.cpu(), reached.inputs.cpu(), away.cpu())

    def _keep(self, positions: Tensor, points: Tensor, away: Tensor) -> None:
        for position, point, distance in zip(positions.tolist(), points, away.tolist(), strict=True):
            known = self.examples.get(position)
            if known is None or distance < known.distance:
                self.examples[position] = Example(point, distance)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Per row of a block: whether it is broken, unfinished, or has an example worth keeping; its point and distance."""

    broken: Tensor
    unfinished: Tensor
    kept: Tensor
    points: Tensor
    distances: Tensor
