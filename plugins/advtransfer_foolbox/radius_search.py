"""Search for adversarial examples at increasing radii."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.datasets import BoundedSamples
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.types import Context, Outcome
from advtransfer_foolbox.clean_accuracy import CleanPredictions
from advtransfer_foolbox.norms import Budget, distances_to_images, eps_with_slack, inside_box
from advtransfer_foolbox.protocols import (
    Attack,
    AttackBatch,
    AttackRun,
    BatchResult,
    count_decisions,
    misclassified,
)

MAX_PIXELS_PER_BATCH = 2**25
"""Upper bound on the pixel values of images attacked together; no outcome depends on it."""


@dataclass(frozen=True, slots=True)
class NearestExample:
    """The nearest example of a sample: a point ``(C, H, W)`` and its distance from the image."""

    point: Tensor
    distance: float


@dataclass(slots=True, kw_only=True)
class RadiusSearch:
    """State of the search: the closest adversarial example of each sample over increasing radii.

    At every radius the attacks run as at that radius alone, on the samples that still stand. A
    sample broken at one radius is broken at every larger one by the same example, and is not
    attacked again. So an accuracy is at most that of its radius alone, and depends on no larger
    radius.

    Args:
        attacks: The attacks; each runs on the samples that those before it did not break.
        model: The Foolbox model.
        test: The samples.
        clean: Predictions without attack; only correctly classified samples are attacked.
        budget: The norm and the radii.
        context: The device, random streams and progress reports of the host.

    Attributes:
        examples: The nearest example of each sample that has one, by position.
        forward_counts: Number of model evaluations per sample, ``(N,)`` int64.
        gradient_counts: Number of gradient evaluations per sample, ``(N,)`` int64.
    """

    attacks: Sequence[Attack]
    model: PyTorchModel
    test: BoundedSamples
    clean: CleanPredictions
    budget: Budget
    context: Context
    examples: dict[int, NearestExample] = field(default_factory=dict)
    forward_counts: Tensor = field(init=False)
    gradient_counts: Tensor = field(init=False)
    _unfinished: Tensor = field(init=False)
    _was_attacked: bool = False
    _attempts_done: int = 0

    def __post_init__(self) -> None:
        count = len(self.test)
        # The clean prediction of a sample is its first model evaluation.
        self.forward_counts = torch.ones(count, dtype=torch.int64)
        self.gradient_counts = torch.zeros(count, dtype=torch.int64)
        self._unfinished = torch.zeros(count, dtype=torch.bool)

    def attack_radius(self, eps: float) -> Tensor:
        """Return the outcomes ``(N,)`` uint8 at a radius larger than the previous ones.

        At radius 0 nothing is attacked.
        """
        outcomes = self.clean.outcomes.clone()
        if eps <= 0:
            return outcomes
        outcomes[self.positions_within(eps)] = int(Outcome.BROKEN)
        for attack in self.attacks:
            if attack.finds_nearest and self._was_attacked:
                # Its nearest examples were found at the first radius and hold for all of them.
                continue
            for attempt in range(attack.count_attempts(self._class_count)):
                self._run_attempt(attack, AttackRun(eps, attempt), outcomes)
        # A sample with an unfinished attempt stays unknown at this and at every larger radius,
        # unless it is broken: another attempt that ran to its end does not make up for it.
        outcomes[self._unfinished & (outcomes == Outcome.ROBUST)] = int(Outcome.UNKNOWN)
        self._was_attacked = True
        return outcomes

    def positions_within(self, eps: float) -> list[int]:
        """Return the sorted positions of the samples with an example in the ball."""
        return sorted(
            position
            for position, example in self.examples.items()
            if example.distance <= eps_with_slack(eps)
        )

    def nearest_distances(self) -> Tensor:
        """Return the distance of each sample's nearest example, ``(N,)`` float64.

        It is 0 for a sample that is wrong without attack, infinite for one without an example.
        """
        distances = torch.full((len(self.test),), math.inf, dtype=torch.float64)
        distances[self.clean.outcomes == Outcome.WRONG] = 0.0
        for position, example in self.examples.items():
            distances[position] = example.distance
        return distances

    @property
    def _class_count(self) -> int:
        first_label = self.test.labels(torch.tensor([0]))
        return count_decisions(self.clean.logits, first_label)

    def _run_attempt(self, attack: Attack, run: AttackRun, outcomes: Tensor) -> None:
        """Run one attack once on all samples that are not broken, and update `outcomes`."""
        is_robust = (self.clean.outcomes == Outcome.ROBUST) & (outcomes != Outcome.BROKEN)
        robust_positions = is_robust.nonzero().flatten()
        pixels = math.prod(self.test.card.shape)
        batch_size = max(KERNEL_BATCH, MAX_PIXELS_PER_BATCH // pixels)
        for start in range(0, len(robust_positions), batch_size):
            positions = robust_positions[start : start + batch_size]
            self._attack_positions(attack, run, positions, outcomes, done_before=start)
        self._attempts_done += 1

    def _attack_positions(
        self,
        attack: Attack,
        run: AttackRun,
        positions: Tensor,
        outcomes: Tensor,
        *,
        done_before: int,
    ) -> None:
        batch = self._make_batch(positions)
        result = attack.run_attempt(
            self.model,
            batch,
            run,
            context=self.context,
            on_progress=lambda done: self._report_progress(done_before + done),
        )
        verdict = self._judge_result(batch, result, run.eps, finds_nearest=attack.finds_nearest)
        self._unfinished[positions] |= verdict.unfinished
        outcomes[positions[verdict.broken]] = int(Outcome.BROKEN)
        # One more evaluation than the attack made: `_judge_result` evaluates its points again.
        self.forward_counts[positions] += result.forward_counts.cpu() + 1
        self.gradient_counts[positions] += result.gradient_counts.cpu()
        self._keep_nearest(positions, verdict)

    def _report_progress(self, done: int) -> None:
        """Report progress, with `done` of the samples of the current attempt finished."""
        count = len(self.test)
        attempts = sum(attack.count_attempts(self._class_count) for attack in self.attacks)
        total = len(self.budget.eps) * attempts * count
        self.context.progress(self._attempts_done * count + done, total)

    def _make_batch(self, positions: Tensor) -> AttackBatch:
        device = self.context.device
        return AttackBatch(
            keys=[self.test.keys[position] for position in positions.tolist()],
            inputs=self.test.inputs(positions).to(device),
            labels=self.test.labels(positions).to(device),
            clean_logits=self.clean.logits[positions].to(device),
        )

    def _judge_result(
        self, batch: AttackBatch, result: BatchResult, eps: float, *, finds_nearest: bool
    ) -> _BatchVerdict:
        """Judge an attack's points by logits and distances computed here, not by the attack."""
        with torch.no_grad():
            logits = apply_in_chunks(self.model, result.points)
        distances = distances_to_images(result.points, batch.inputs, norm=self.budget.norm)
        in_ball = distances <= eps_with_slack(eps)
        is_valid = inside_box(result.points) & logits.isfinite().all(1)
        is_wrong = is_valid & misclassified(logits, batch.labels)
        # An attack that searches for the nearest example may end outside the ball of this radius.
        in_scope = in_ball | finds_nearest
        # The attack stopped at a point that is not misclassified here: nobody searched further.
        stopped_early = result.is_adversarial & ~is_wrong
        finished = is_valid & result.completed & in_scope & ~stopped_early
        broken = is_wrong & in_ball
        return _BatchVerdict(
            broken=broken.cpu(),
            unfinished=(~finished & ~broken).cpu(),
            is_example=(is_wrong & in_scope).cpu(),
            points=result.points.cpu(),
            distances=distances.cpu(),
        )

    def _keep_nearest(self, positions: Tensor, verdict: _BatchVerdict) -> None:
        """Store the examples that are nearer than the stored ones."""
        # Copies of the examples only: views of the batch would keep all its points in memory.
        examples = zip(
            positions[verdict.is_example].tolist(),
            verdict.points[verdict.is_example],
            verdict.distances[verdict.is_example].tolist(),
            strict=True,
        )
        for position, point, distance in examples:
            stored = self.examples.get(position)
            if stored is None or distance < stored.distance:
                self.examples[position] = NearestExample(point, distance)


@dataclass(frozen=True, slots=True, kw_only=True)
class _BatchVerdict:
    """Outcome of one attempt for each row of a batch, on the CPU.

    Args:
        broken: True for a misclassified point inside the ball, ``(B,)`` bool.
        unfinished: True where the attempt failed and broke nothing, ``(B,)`` bool.
        is_example: True for a misclassified point whose distance counts, ``(B,)`` bool.
        points: The attack's points, ``(B, C, H, W)``.
        distances: Their distances from the images, ``(B,)`` float64.
    """

    broken: Tensor
    unfinished: Tensor
    is_example: Tensor
    points: Tensor
    distances: Tensor
