"""Search for adversarial examples at increasing radii."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.datasets import BoundedSamples
from advtransfer.toolkit.prediction import fill_batch
from advtransfer.toolkit.randomized import keyed_draws
from advtransfer.types import Context, Outcome
from advtransfer_foolbox.clean_accuracy import CleanPredictions
from advtransfer_foolbox.nearest_examples import NearestExamples, Verdict
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
        rows: Rows of the kernel batches.
        randomized: Whether the model draws at random; it is then judged at the draws that samples' keys name.

    Attributes:
        examples: The nearest example of each sample that has one.
        forward_counts: Number of model evaluations per sample, ``(N,)`` int64.
        gradient_counts: Number of gradient evaluations per sample, ``(N,)`` int64.
    """

    attacks: Sequence[Attack]
    model: PyTorchModel
    test: BoundedSamples
    clean: CleanPredictions
    budget: Budget
    context: Context
    rows: int
    randomized: bool = False
    examples: NearestExamples = field(init=False)
    forward_counts: Tensor = field(init=False)
    gradient_counts: Tensor = field(init=False)
    _unfinished: Tensor = field(init=False)
    _was_attacked: bool = False
    _attempts_done: int = 0

    def __post_init__(self) -> None:
        count = len(self.test)
        self.examples = NearestExamples.allocate(
            count, self.test.card.shape, device=self.context.device
        )
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
        outcomes[self.examples.positions_within(eps)] = int(Outcome.BROKEN)
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

    def nearest_distances(self) -> Tensor:
        """Return the distance of each sample's nearest example, ``(N,)`` float64.

        It is 0 for a sample that is wrong without attack, infinite for one without an example.
        """
        distances = self.examples.distances.cpu()
        return distances.masked_fill(self.clean.outcomes == Outcome.WRONG, 0.0)

    @property
    def _class_count(self) -> int:
        first_label = self.test.labels(torch.tensor([0]))
        return count_decisions(self.clean.logits, first_label)

    def _run_attempt(self, attack: Attack, run: AttackRun, outcomes: Tensor) -> None:
        """Run one attack once on all samples that are not broken, and update `outcomes`."""
        is_robust = (self.clean.outcomes == Outcome.ROBUST) & (outcomes != Outcome.BROKEN)
        robust_positions = is_robust.nonzero().flatten()
        pixels = math.prod(self.test.card.shape)
        batch_size = max(self.rows, MAX_PIXELS_PER_BATCH // pixels)
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
        self.examples.keep_nearer(positions, result.points, verdict)
        counts = [verdict.broken, verdict.unfinished, result.forward_counts, result.gradient_counts]
        # One copy to the host an attempt, whatever the number of columns.
        broken, unfinished, forwards, gradients = torch.stack(counts).cpu()
        self._unfinished[positions] |= unfinished.bool()
        outcomes[positions[broken.bool()]] = int(Outcome.BROKEN)
        # One more evaluation than the attack made: `_judge_result` evaluates its points again.
        self.forward_counts[positions] += forwards + 1
        self.gradient_counts[positions] += gradients

    def _report_progress(self, done: int) -> None:
        """Report progress, with `done` of the samples of the current attempt finished."""
        count = len(self.test)
        attempts = sum(attack.count_attempts(self._class_count) for attack in self.attacks)
        total = len(self.budget.eps) * attempts * count
        self.context.progress(self._attempts_done * count + done, total)

    def _make_batch(self, positions: Tensor) -> AttackBatch:
        device = self.context.device
        return AttackBatch(
            keys=list(map(self.test.keys.__getitem__, positions.tolist())),
            inputs=self.test.inputs(positions).to(device),
            labels=self.test.labels(positions).to(device),
            clean_logits=self.clean.logits[positions].to(device),
            rows=self.rows,
            randomized=self.randomized,
        )

    def _judge_result(
        self, batch: AttackBatch, result: BatchResult, eps: float, *, finds_nearest: bool
    ) -> Verdict:
        """Judge an attack's points by logits and distances computed here, not by the attack."""
        chunks = zip(
            *(
                torch.split(tensor, self.rows)
                for tensor in (result.points, batch.inputs, batch.labels)
            ),
            strict=True,
        )
        keys = iter(batch.keys)
        # Chunk by chunk, so that what is computed of a point is computed while it is in the cache.
        judged = [self._judge_points(keys, *chunk) for chunk in chunks]
        is_wrong, is_valid, distances = map(torch.cat, zip(*judged, strict=True))
        in_ball = distances <= eps_with_slack(eps)
        # An attack that searches for the nearest example may end outside the ball of this radius.
        in_scope = in_ball | finds_nearest
        # The attack stopped at a point that is not misclassified here: nobody searched further.
        stopped_early = result.is_adversarial & ~is_wrong
        finished = is_valid & result.completed & in_scope & ~stopped_early
        broken = is_wrong & in_ball
        return Verdict(
            broken=broken,
            unfinished=~finished & ~broken,
            is_example=is_wrong & in_scope,
            distances=distances,
        )

    def _judge_points(
        self, keys: Iterator[int], points: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return which points are misclassified, which are valid, and their distances, each ``(B,)``."""
        with torch.no_grad():
            logits = self._judging_logits(points, keys)
        is_valid = inside_box(points) & logits.isfinite().all(1)
        is_wrong = is_valid & misclassified(logits, labels)
        return is_wrong, is_valid, distances_to_images(points, images, norm=self.budget.norm)

    def _judging_logits(self, points: Tensor, keys: Iterator[int]) -> Tensor:
        """Return the logits ``(B, K)`` that decide on points; `keys` gives those of their samples next."""
        if self.randomized:
            return keyed_draws(self.model, points, list(itertools.islice(keys, len(points))))
        logits: Tensor = self.model(fill_batch(points, self.rows))[: len(points)]
        return logits
