"""Auto-PGD of Croce and Hein as a Foolbox attack and as an evaluation runs it.

The ascents of a batch go side by side, a kernel batch at a time. A finished one makes room for the
next; every iterate is judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from eagerpy.astensor import astensor, astensor_
from foolbox.attacks.base import FixedEpsilonAttack, raise_if_kwargs, verify_input_bounds
from foolbox.distances import Distance
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.kernel_batch import kernel_rows
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.prediction import apply_in_chunks, fill_batch
from advtransfer.types import Context
from advtransfer_foolbox.apgd_losses import (
    TargetRanking,
    apgd_objective,
    defined_loss,
    rank_in_chunks,
)
from advtransfer_foolbox.apgd_steps import Ascent, MomentumAscent, SparseAscent
from advtransfer_foolbox.attack_settings import Apgd
from advtransfer_foolbox.draws import mean_over_draws
from advtransfer_foolbox.gradient_attacks import Objective, other_classes
from advtransfer_foolbox.norms import bring_inside
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    OnProgress,
    criterion_labels,
    misclassified,
)
from advtransfer_foolbox.row_block import look_period
from advtransfer_foolbox.row_functions import DISTANCES, row_column
from advtransfer_foolbox.starts import normal_numbers, random_starts


class AutoPgd(FixedEpsilonAttack):
    """Auto-PGD, stopped for each sample at its first misclassified iterate.

    The model always sees a whole kernel batch, so that no result depends on the rest of the batch.
    A targeted loss takes a sample's target classes one after the other, each with all steps. Against a randomised
    model all steps are taken, and the point of the largest mean loss is kept.

    Args:
        settings: Loss, steps, restarts and targets.
        norm: The norm of the ball.
        seed: Seed of the random starts.
    """

    finds_nearest = False
    attacks_randomized = True

    def __init__(self, settings: Apgd, *, norm: Norm, seed: int = 0) -> None:
        self.settings = settings
        self.norm = norm
        self.seed = seed

    @property
    def distance(self) -> Distance:
        """The distance of the attack's norm (Foolbox's hook)."""
        return DISTANCES[self.norm]

    def count_attempts(self, classes: int) -> int:
        """Return the number of restarts."""
        return self.settings.restarts

    def run(
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        criterion: Any,  # noqa: ANN401  # Any: a criterion or the labels
        *,
        epsilon: float,
        **kwargs: Any,  # noqa: ANN401  # Any: as in Foolbox
    ) -> Any:  # noqa: ANN401  # Any: the type of `inputs`
        """Return the points of one ascent from each image (Foolbox's hook).

        Raises:
            TypeError: The criterion is not misclassification.
        """
        raise_if_kwargs(kwargs)
        images, restore_type = astensor_(inputs)
        verify_input_bounds(images, model)
        labels = criterion_labels(criterion)
        with torch.no_grad():
            clean_logits = apply_in_chunks(model, images.raw)
        result = self.attack_batch(
            model,
            images.raw,
            labels,
            eps=epsilon,
            starts=images.raw,
            clean_logits=clean_logits,
        )
        return restore_type(astensor(result.points))

    def run_attempt(
        self,
        model: PyTorchModel,
        batch: AttackBatch,
        run: AttackRun,
        *,
        context: Context,
        on_progress: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the batch once, from its random start of this restart."""
        starts = self._random_starts(batch, run, context)
        return self.attack_batch(
            model,
            batch.inputs,
            batch.labels,
            eps=run.eps,
            starts=starts,
            clean_logits=batch.clean_logits,
            rows=batch.rows,
            randomized=batch.randomized,
            on_progress=on_progress,
        )

    def attack_batch(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        eps: float,
        starts: Tensor,
        clean_logits: Tensor,
        rows: int | None = None,
        randomized: bool = False,
        on_progress: OnProgress = lambda done: None,
    ) -> BatchResult:
        """Attack images ``(B, C, H, W)``.

        Args:
            model: The Foolbox model; its weights must not require gradients.
            images: Images within the box [0, 1].
            labels: Classes ``(B,)``.
            eps: Radius of the ball.
            starts: Starting points ``(B, C, H, W)`` in the box.
            clean_logits: Logits of the images, ``(B, K)``.
            rows: Rows of the kernel batch; by default those of a set of ``B`` samples.
            randomized: Take all steps: a wrong answer may be chance.
            on_progress: Called from time to time with the number of finished samples.
        """
        if rows is None:
            rows = kernel_rows(images.device, images.shape[1:], samples=len(images))
        loss = defined_loss(self.settings.loss, clean_logits.shape[1])
        queue = _AscentQueue(
            model=model,
            objective=apgd_objective(loss),
            images=images,
            labels=labels,
            starts=starts,
            ranking=self._rank_targets(model, images, labels, clean_logits, rows),
            ascent=self._new_ascent(fill_batch(images[:rows], rows), eps),
            steps=self.settings.steps,
            draws=self.settings.draws,
            randomized=randomized,
            rows=rows,
        )
        return queue.run(on_progress)

    def _random_starts(self, batch: AttackBatch, run: AttackRun, context: Context) -> Tensor:
        """Return random points ``(B, C, H, W)`` of the box, at most about eps from the images."""
        shape = tuple(batch.inputs.shape[1:])
        if self.norm == "l1":
            # Normal offsets, which the ascent projects: that leaves a sparse start, from which its
            # sparse steps go on (Croce and Hein, 2021).
            size = math.prod(shape)
            count = size + size % 2
            stream = f"apgd {self.seed}"
            numbers = context.uniform(stream, batch.keys, (count,), restart=run.attempt)
            offsets = normal_numbers(numbers)[:, :size].reshape(-1, *shape)
            return batch.inputs + offsets.to(batch.inputs)
        points = random_starts(
            batch.keys,
            shape,
            norm=self.norm,
            seed=self.seed,
            restart=run.attempt,
            context=context,
        )
        starts = batch.inputs + run.eps * points.to(batch.inputs)
        return bring_inside(starts, batch.inputs, norm=self.norm, eps=run.eps)

    def _new_ascent(self, like: Tensor, eps: float) -> Ascent:
        steps = self.settings.steps
        if self.norm == "l1":
            return SparseAscent(like=like, eps=eps, steps=steps)
        return MomentumAscent(
            like=like, norm=self.norm, eps=eps, steps=steps, rho=self.settings.rho
        )

    def _rank_targets(
        self, model: Model, images: Tensor, labels: Tensor, clean_logits: Tensor, rows: int
    ) -> TargetRanking:
        """Return the target classes of each sample; its own class alone for an untargeted loss."""
        classes = labels[:, None]
        if self.settings.is_targeted:
            if self.settings.target_order == "distance":
                ranking = rank_in_chunks(model, images, labels, norm=self.norm, rows=rows)
                return ranking.first_targets(self.settings.targets)
            classes = other_classes(clean_logits, labels)[:, : self.settings.targets]
        is_finite = torch.ones_like(labels, dtype=torch.bool)
        return TargetRanking(classes, 0, 0, is_finite)


class _Evaluation(NamedTuple):
    """Losses ``(B,)`` and gradients at points, and which are misclassified or without a gradient."""

    losses: Tensor
    gradients: Tensor
    misclassified: Tensor
    is_finite: Tensor


@dataclass(slots=True, kw_only=True)
class _AscentQueue:
    """The ascents of a batch, a kernel batch side by side; a finished one gives its row to the next.

    Kernels of another batch size round differently, so the model always sees all rows. Those that
    no sample needs any more are computed and ignored.

    Args:
        model: The Foolbox model.
        objective: The loss that the ascents increase.
        images: Images ``(B, C, H, W)``.
        labels: Their classes ``(B,)``.
        starts: Their starting points ``(B, C, H, W)``.
        ranking: The target classes of each sample, tried one after the other.
        ascent: The state of an ascent in each row.
        steps: Number of steps of an ascent.
        draws: Evaluations of the model in one step.
        randomized: Whether the model draws at random, so that no wrong answer ends an ascent.
        rows: The number of rows.
    """

    model: Model
    objective: Objective
    images: Tensor
    labels: Tensor
    starts: Tensor
    ranking: TargetRanking
    ascent: Ascent
    steps: int
    draws: int
    randomized: bool
    rows: int
    _owners: Tensor = field(init=False)
    _ranks: Tensor = field(init=False)
    _is_busy: Tensor = field(init=False)
    _is_found: Tensor = field(init=False)
    _is_finite: Tensor = field(init=False)
    _counts: Tensor = field(init=False)
    _examples: Tensor = field(init=False)
    _next: int = field(init=False)
    _result: BatchResult = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.labels)
        numbers = torch.arange(max(count, self.rows), device=self.labels.device)
        self._owners = fill_batch(numbers[:count][: self.rows], self.rows)
        self._ranks = torch.zeros_like(self._owners)
        self._is_busy = numbers[: self.rows] < count
        self._is_found = torch.zeros_like(self._is_busy)
        self._is_finite = torch.ones_like(self._is_busy)
        self._counts = torch.zeros_like(self._owners)
        self._examples = torch.empty_like(self.ascent.points)
        self._next = min(count, self.rows)
        counts = torch.full_like(self.labels, self.ranking.gradients)
        self._result = BatchResult(
            points=self.images.clone(),
            is_adversarial=torch.zeros_like(self.labels, dtype=torch.bool),
            completed=self.ranking.is_finite.clone(),
            forward_counts=torch.full_like(self.labels, self.ranking.forwards),
            gradient_counts=counts,
        )

    def run(self, on_progress: OnProgress) -> BatchResult:
        """Return the result of all samples."""
        self._begin(torch.arange(self.rows, device=self.labels.device))
        # An ascent evaluates the point before its first step too.
        period = look_period(self.steps + 1, self.labels.device)
        done_count = reported_count = 0
        while done_count < len(self.labels):
            for _ in range(period):
                self._advance()
            done_count += self._collect()
            all_done = done_count == len(self.labels)
            if all_done or done_count - reported_count >= self.rows:
                on_progress(done_count)
                reported_count = done_count
        return self._result

    def _advance(self) -> None:
        """Evaluate and move the points of all rows; rows without an ascent are computed and ignored."""
        is_open = self._is_busy & ~self._is_found & ~self.ascent.is_over()
        evaluation = self._evaluate()
        self._counts += is_open * self.draws
        self._is_finite &= evaluation.is_finite | ~is_open
        points = self.ascent.points
        is_example = is_open & evaluation.misclassified & self.ascent.counts_examples()
        self._is_found |= is_example
        torch.where(row_column(is_example, points), points, self._examples, out=self._examples)
        # An ascent that is over keeps its best point.
        losses = evaluation.losses.masked_fill(~is_open, -math.inf)
        self.ascent.advance(losses, evaluation.gradients)

    def _collect(self) -> int:
        """Give the rows of ended ascents to others; return the number of samples that finished."""
        is_over = self._is_busy & ~self._is_found & self.ascent.is_over()
        self._ranks += is_over
        is_exhausted = is_over & (self._ranks >= self.ranking.classes.shape[1])
        ended = (self._is_busy & self._is_found) | is_exhausted
        # One copy to the host for both: it waits for the device.
        ended_rows, next_rows = (
            flags.nonzero().flatten().to(ended.device)
            for flags in torch.stack([ended, is_over & ~is_exhausted]).cpu()
        )
        if len(ended_rows):
            self._store(ended_rows)
            next_rows = torch.cat([next_rows, self._refill(ended_rows)])
        self._begin(next_rows)
        return len(ended_rows)

    def _evaluate(self) -> _Evaluation:
        labels = self.labels[self._owners]
        # The row of a finished sample may be one target too far.
        ranks = self._ranks.clamp_max(self.ranking.classes.shape[1] - 1)
        targets = self.ranking.classes[self._owners, ranks]
        evaluate = partial(self._differentiate, labels, targets)
        logits, losses, gradients = mean_over_draws(evaluate, self.draws)
        entries = gradients.isfinite()
        return _Evaluation(
            losses=losses,
            # torch's sign of NaN is 0 too; `completed` tells such a step from a robust sample.
            gradients=torch.where(entries, gradients, 0.0),
            misclassified=misclassified(logits, labels) & (not self.randomized),
            is_finite=entries.flatten(1).all(1),
        )

    def _differentiate(self, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits ``(B, K)``, the losses ``(B,)`` and their gradients, at one draw."""
        points = self.ascent.points.detach().requires_grad_()
        logits: Tensor = self.model(points)
        losses = self.objective(logits, labels, targets)
        # A sum, not a mean: the gradient of a sample must not depend on the number of rows.
        (gradients,) = torch.autograd.grad(losses.sum(), points)
        return logits.detach(), losses.detach(), gradients

    def _store(self, rows: Tensor) -> None:
        """Store the results of the samples in these rows ``(R,)``."""
        owners, is_found = self._owners[rows], self._is_found[rows]
        best_points = self.ascent.best_points[rows]
        mask = row_column(is_found, best_points)
        self._result.points[owners] = torch.where(mask, self._examples[rows], best_points)
        self._result.is_adversarial[owners] = is_found
        self._result.completed[owners] &= self._is_finite[rows]
        self._result.forward_counts[owners] += self._counts[rows]
        self._result.gradient_counts[owners] += self._counts[rows]

    def _refill(self, free_rows: Tensor) -> Tensor:
        """Give free rows to waiting samples; return the rows that have one."""
        waiting = torch.arange(self._next, len(self.labels), device=free_rows.device)
        fresh = waiting[: len(free_rows)]
        rows = free_rows[: len(fresh)]
        self._owners[rows] = fresh
        self._ranks[rows] = 0
        self._counts[rows] = 0
        self._is_found[rows] = False
        self._is_finite[rows] = True
        self._is_busy[free_rows[len(fresh) :]] = False
        self._next += len(fresh)
        return rows

    def _begin(self, rows: Tensor) -> None:
        if len(rows):
            owners = self._owners[rows]
            self.ascent.begin(rows, self.images[owners], self.starts[owners])
