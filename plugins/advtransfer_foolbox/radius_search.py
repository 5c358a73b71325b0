"""Search for adversarial examples at one radius after another, smallest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.datasets import BoundedSamples
from advtransfer.toolkit.prediction import KERNEL_BATCH, apply_in_chunks
from advtransfer.types import Context, Outcome
from advtransfer_foolbox.clean_accuracy import CleanPredictions
from advtransfer_foolbox.norms import distances_to_images, eps_with_slack, inside_box
from advtransfer_foolbox.options import Norm
from advtransfer_foolbox.protocols import Attack, AttackBatch, AttackRun, BatchResult

MAX_PIXELS_PER_BATCH = 2**25
"""How many pixel values of attacked images are held at a time; no outcome depends on it."""


@dataclass(frozen=True, slots=True)
class NearestExample:
    """The nearest example found for a sample: the image ``(C, H, W)`` and how far it is."""

    point: Tensor
    distance: float


@dataclass(slots=True, kw_only=True)
class RadiusSearch:
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
    test: BoundedSamples
    clean: CleanPredictions
    norm: Norm
    radii: Sequence[float]
    context: Context
    examples: dict[int, NearestExample] = field(default_factory=dict)
    forward_counts: Tensor = field(init=False)
    gradient_counts: Tensor = field(init=False)
    _unfinished: Tensor = field(init=False)
    _warm_starts: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)
    _previous_eps: float = 0.0
    _attempts_done: int = 0
    _radii_done: int = 0

    def __post_init__(self) -> None:
        count = len(self.test)
        self.forward_counts = torch.ones(count, dtype=torch.int64)  # the one without attack
        self.gradient_counts = torch.zeros(count, dtype=torch.int64)
        self._unfinished = torch.zeros(count, dtype=torch.bool)

    def attack_radius(self, eps: float) -> Tensor:
        """Outcomes ``(N,)`` uint8 at a radius larger than those before; with 0 there is nothing to try."""
        outcomes, self._radii_done = self.clean.outcomes.clone(), self._radii_done + 1
        if eps <= 0:
            return outcomes
        outcomes[self.positions_within(eps)] = int(Outcome.BROKEN)
        for index, attack in enumerate(self.attacks):
            once = attack.finds_nearest and self._previous_eps > 0
            for attempt in range(0 if once else attack.count_attempts(self._class_count)):
                self._run_attempt(
                    index, AttackRun(eps, attempt, self._previous_eps, self.radii[-1]), outcomes
                )
        # an unfinished attempt leaves a sample unknown at its radius and at every larger one, however others end
        outcomes[self._unfinished & (outcomes == Outcome.ROBUST)] = int(Outcome.UNKNOWN)
        self._previous_eps = eps
        return outcomes

    def positions_within(self, eps: float) -> list[int]:
        """The positions of the samples with an example in the ball, in order."""
        return sorted(
            position
            for position, one in self.examples.items()
            if one.distance <= eps_with_slack(eps)
        )

    def nearest_distances(self) -> Tensor:
        """The distance of each sample's nearest example, ``(N,)`` float64; 0 for a wrong sample, infinite for none."""
        found = torch.full((len(self.test),), math.inf, dtype=torch.float64)
        found[self.clean.outcomes == Outcome.WRONG] = 0.0
        for position, one in self.examples.items():
            found[position] = one.distance
        return found

    @property
    def _class_count(self) -> int:
        return self.clean.logits.shape[1]

    def _run_attempt(self, index: int, rung: AttackRun, outcomes: Tensor) -> None:
        """Run one attack once on everything that stands; `outcomes` are updated."""
        standing = (
            ((self.clean.outcomes == Outcome.ROBUST) & (outcomes != Outcome.BROKEN))
            .nonzero()
            .flatten()
        )
        size = max(KERNEL_BATCH, MAX_PIXELS_PER_BATCH // math.prod(self.test.card.shape))
        for start in range(0, len(standing), size):
            self._attack_positions(
                index, rung, standing[start : start + size], outcomes, before=start
            )
        self._attempts_done += 1

    def _attack_positions(
        self, index: int, rung: AttackRun, positions: Tensor, outcomes: Tensor, *, before: int
    ) -> None:
        block = self._make_batch(index, rung, positions)
        count = len(self.test)
        passes = len(self.radii) * sum(
            attack.count_attempts(self._class_count) for attack in self.attacks
        )

        def tick(done: int) -> None:
            self.context.progress(self._attempts_done * count + before + done, passes * count)

        attack = self.attacks[index]
        reached = attack.run_attempt(self.model, block, rung, context=self.context, tick=tick)
        found = self._judge_result(block, reached, rung.eps, nearest=attack.finds_nearest)
        self._unfinished[positions] |= found.unfinished
        outcomes[positions[found.broken]] = int(Outcome.BROKEN)
        self.forward_counts[positions] += reached.forward_counts.cpu() + 1
        self.gradient_counts[positions] += reached.gradient_counts.cpu()
        self._keep_nearest(
            positions[found.keep_example],
            found.points[found.keep_example],
            found.distances[found.keep_example],
        )
        if attack.warm_starts and self._radii_done < len(self.radii):
            ends = zip(positions[~found.broken].tolist(), found.points[~found.broken], strict=True)
            self._warm_starts |= {
                (index, rung.attempt, position): point for position, point in ends
            }

    def _make_batch(self, index: int, rung: AttackRun, positions: Tensor) -> AttackBatch:
        device, rows = self.context.device, positions.tolist()
        left = None
        if self.attacks[index].warm_starts and self._previous_eps > 0:
            left = torch.stack([self._warm_starts[index, rung.attempt, row] for row in rows]).to(
                device
            )
        return AttackBatch(
            keys=[self.test.keys[row] for row in rows],
            inputs=self.test.inputs(positions).to(device),
            labels=self.test.labels(positions).to(device),
            clean_logits=self.clean.logits[positions].to(device),
            warm_start=left,
        )

    def _judge_result(
        self, block: AttackBatch, reached: BatchResult, eps: float, *, nearest: bool
    ) -> _JudgedBatch:
        """What an attack's points are worth, by logits and distances of our own."""
        with torch.no_grad():
            logits = apply_in_chunks(self.model, reached.points)
        away = distances_to_images(reached.points, block.inputs, norm=self.norm)
        inside, sound = (
            away <= eps_with_slack(eps),
            inside_box(reached.points) & logits.isfinite().all(1),
        )
        missed = sound & (logits.argmax(1) != block.labels)
        # where the attack stopped at an example that is none here, nobody has looked further
        lost = reached.is_adversarial & ~missed
        finished = sound & reached.completed & (inside | nearest) & ~lost
        broken = missed & inside
        kept, unfinished = missed & (inside | nearest), ~finished & ~broken
        return _JudgedBatch(
            broken.cpu(), unfinished.cpu(), kept.cpu(), reached.points.cpu(), away.cpu()
        )

    def _keep_nearest(self, positions: Tensor, points: Tensor, away: Tensor) -> None:
        for position, point, distance in zip(
            positions.tolist(), points, away.tolist(), strict=True
        ):
            known = self.examples.get(position)
            if known is None or distance < known.distance:
                self.examples[position] = NearestExample(point, distance)


@dataclass(frozen=True, slots=True)
class _JudgedBatch:
    """Per row of a block: whether it is broken, unfinished, or has an example worth keeping; its point and distance."""

    broken: Tensor
    unfinished: Tensor
    keep_example: Tensor
    points: Tensor
    distances: Tensor
