"""Foolbox's gradient attacks in all norms, stopped for each sample at its first misclassified iterate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from eagerpy.astensor import astensor, astensor_
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.base import raise_if_kwargs, verify_input_bounds
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from foolbox.distances import Distance
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from foolbox.types import Bounds
from torch import Tensor

from advtransfer.toolkit.highest_loss import log_odds_loss
from advtransfer.toolkit.kernel_batch import kernel_rows
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Context
from advtransfer_foolbox import attributes
from advtransfer_foolbox.attack_settings import EpsMultiple, GradientSettings, Loss
from advtransfer_foolbox.draws import mean_over_draws
from advtransfer_foolbox.gradient_block import GradientBlock
from advtransfer_foolbox.gradient_steps import project_step, step_direction, step_rule
from advtransfer_foolbox.norms import bring_inside
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    OnProgress,
    count_decisions,
    criterion_labels,
)
from advtransfer_foolbox.row_block import run_block
from advtransfer_foolbox.row_functions import DISTANCES, logits_of, mask_classes
from advtransfer_foolbox.starts import numbers_per_point, random_starts, unit_ball_points

Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Map logits ``(B, K)``, labels and targets ``(B,)`` to the value to increase, ``(B,)``.

Labels and targets are classes, or labels ``(B, K)`` attributes and targets one attribute each.
"""


def loss_objective(loss: Loss) -> Objective:
    """Return the objective whose gradient has the direction of that loss's."""
    of_classes, of_attributes = {
        "cross_entropy": (_cross_entropy, attributes.log_binary_cross_entropy),
        "margin": (_logit_margin, attributes.largest_margin),
        "targeted_margin": (_targeted_margin, attributes.target_margin),
    }[loss]

    def objective(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        return (of_attributes if labels.ndim == 2 else of_classes)(logits, labels, targets)

    return objective


def other_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the classes other than the label by decreasing logit, ``(B, K - 1)``.

    Of attributes, all of them by decreasing margin, ``(B, K)``: each is another prediction.
    """
    if labels.ndim == 2:
        return attributes.nearest_attributes(logits, labels)
    return mask_classes(logits, labels).sort(dim=1, descending=True, stable=True).indices[:, :-1]


def _cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return log_odds_loss(logits, labels)


def _logit_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the largest other logit minus the label's logit, ``(B,)``."""
    largest_other: Tensor = mask_classes(logits, labels).max(dim=1).values
    return largest_other - logits_of(logits, labels)


def _targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the target's logit minus the label's logit, ``(B,)``."""
    if targets is None:
        raise ValueError(
            "found no target classes; expected one per sample, (B,); "
            "use the loss 'margin' without targets"
        )
    return logits_of(logits, targets) - logits_of(logits, labels)


class GradientAttack(BaseGradientDescent):
    """FGSM, PGD or the basic iterative method as a Foolbox attack, and as an evaluation runs it.

    It stops for each sample at its first misclassified iterate, unless only the last one is judged, as with a
    randomised model.
    The model always sees a whole kernel batch. The row of a finished sample goes to a waiting one.

    Args:
        settings: Steps, step size, starts, loss, targets, and the iterates that are judged.
        norm: The norm of the ball.
        seed: Seed of the random starts.
    """

    finds_nearest = False
    attacks_attributes = True
    attacks_randomized = True

    def __init__(self, settings: GradientSettings, *, norm: Norm, seed: int = 0) -> None:
        size = settings.step_size
        super().__init__(
            rel_stepsize=size.times_eps if isinstance(size, EpsMultiple) else 1.0,
            abs_stepsize=None if isinstance(size, EpsMultiple) else size,
            steps=settings.steps,
            random_start=settings.random_start,
        )
        self.settings = settings
        self.norm = norm
        self.seed = seed
        self._rule = step_rule(norm, sparse_l1=settings.sparse_l1)
        self._objective = loss_objective(settings.loss)

    @property
    def distance(self) -> Distance:
        """The distance of the attack's norm (Foolbox's hook)."""
        return DISTANCES[self.norm]

    def count_attempts(self, classes: int) -> int:
        """Return the number of (restart, target) pairs."""
        return self.settings.restarts * self._count_targets(classes)

    def _count_targets(self, classes: int) -> int:
        if self.settings.loss != "targeted_margin":
            return 1
        if self.settings.targets is None:
            return classes - 1
        return min(self.settings.targets, classes - 1)

    def run_attempt(
        self,
        model: PyTorchModel,
        batch: AttackBatch,
        run: AttackRun,
        *,
        context: Context,
        on_progress: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the batch once, from the start of this restart."""
        target_count = self._count_targets(count_decisions(batch.clean_logits, batch.labels))
        restart, target_rank = divmod(run.attempt, target_count)
        targets = None
        if self.settings.loss == "targeted_margin":
            targets = other_classes(batch.clean_logits, batch.labels)[:, target_rank]
        starts = None
        if self.settings.random_start:
            shape = tuple(batch.inputs.shape[1:])
            points = random_starts(
                batch.keys, shape, norm=self.norm, seed=self.seed, restart=restart, context=context
            )
            starts = self._place_starts(points, batch.inputs, run.eps)
        return self.attack_batch(
            model,
            batch.inputs,
            batch.labels,
            eps=run.eps,
            starts=starts,
            targets=targets,
            rows=batch.rows,
            randomized=batch.randomized,
            on_progress=on_progress,
        )

    def run(
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        criterion: Any,  # noqa: ANN401  # Any: a criterion or the labels
        *,
        epsilon: float,
        **kwargs: Any,  # noqa: ANN401  # Any: as in Foolbox
    ) -> Any:  # noqa: ANN401  # Any: the type of `inputs`
        """Attack once, from starts that are drawn from the global random state (Foolbox's hook).

        Raises:
            TypeError: The criterion is not misclassification.
        """
        raise_if_kwargs(kwargs)
        x0, restore_type = astensor_(inputs)
        verify_input_bounds(x0, model)
        labels = criterion_labels(criterion)
        starts = self.get_random_start(x0, epsilon).raw if self.settings.random_start else None
        result = self.attack_batch(model, x0.raw, labels, eps=epsilon, starts=starts)
        return restore_type(astensor(result.points))

    def get_random_start(self, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Return a random point of each ball and the box (Foolbox's hook)."""
        images: Tensor = x0.raw
        shape = tuple(images.shape[1:])
        numbers = torch.rand(len(images), numbers_per_point(self.norm, images[0].numel()))
        points = unit_ball_points(self.norm, numbers, shape)
        return astensor(self._place_starts(points, images, epsilon))

    def normalize(self, gradients: EagerTensor, *, x: EagerTensor, bounds: Bounds) -> EagerTensor:
        """Return the step of length 1 along each gradient (Foolbox's hook)."""
        return astensor(step_direction(self._rule, gradients.raw, x.raw, bounds))

    def project(self, x: EagerTensor, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Return ``x`` moved into the balls around ``x0`` (Foolbox's hook)."""
        return astensor(project_step(self._rule, x.raw, x0.raw, epsilon))

    def _place_starts(self, unit_points: Tensor, images: Tensor, eps: float) -> Tensor:
        starts = images + eps * unit_points.to(images)
        if self.norm == "linf":
            # No coordinate is further than eps from its image, so the box is all that can be left.
            return starts.clamp_(0, 1)
        return bring_inside(starts, images, norm=self.norm, eps=eps)

    def attack_batch(
        self,
        model: Model,
        inputs: Tensor,
        labels: Tensor,
        *,
        eps: float,
        starts: Tensor | None = None,
        targets: Tensor | None = None,
        rows: int | None = None,
        randomized: bool = False,
        on_progress: OnProgress = lambda done: None,
    ) -> BatchResult:
        """Attack ``(B, C, H, W)`` images.

        Args:
            model: The Foolbox model; its weights must not require gradients.
            inputs: Images within the model's bounds.
            labels: Classes ``(B,)``, or attributes ``(B, K)``.
            eps: Radius of the ball.
            starts: Starting points inside ball and bounds; the images by default.
            targets: Target classes or attributes ``(B,)`` of a targeted objective.
            rows: Rows of the kernel batch; by default those of a set of ``B`` samples.
            randomized: Take all steps: a wrong answer may be chance.
            on_progress: Called from time to time with the number of finished samples.
        """
        if rows is None:
            rows = kernel_rows(inputs.device, inputs.shape[1:], samples=len(inputs))
        size = self.settings.step_size
        block = GradientBlock(
            differentiate=partial(self._differentiate, model),
            images=inputs,
            labels=labels,
            starts=inputs if starts is None else starts,
            targets=targets,
            rule=self._rule,
            eps=eps,
            step_size=size.times_eps * eps if isinstance(size, EpsMultiple) else size,
            steps=self.settings.steps,
            bounds=model.bounds,
            judges_all=self.settings.examples == "any" and not randomized,
            rows=rows,
            draws=self.settings.draws,
        )
        run_block(
            block,
            len(inputs),
            rows=rows,
            steps=self.settings.steps,
            device=inputs.device,
            on_progress=on_progress,
        )
        return block.result

    def _differentiate(
        self, model: Model, points: Tensor, labels: Tensor, targets: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the logits ``(B, K)`` and the gradients of the objective, as the points: means over the draws."""
        evaluate = partial(self._differentiate_draw, model, points, labels, targets)
        logits, gradients = mean_over_draws(evaluate, self.settings.draws)
        return logits, gradients

    def _differentiate_draw(
        self, model: Model, points: Tensor, labels: Tensor, targets: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        points = points.detach().requires_grad_()
        logits: Tensor = model(points)
        values = logits.detach()
        if self.settings.loss == "cross_entropy" and labels.ndim == 1:
            # The gradient of `log_odds_loss` in the logits, for a fifth of the time that autograd takes for it.
            weights = mask_classes(values, labels).softmax(dim=1)
            weights.scatter_(1, labels[:, None], -1.0)
            (gradients,) = torch.autograd.grad(logits, points, weights)
            return values, gradients
        # A sum, not a mean: the gradient of a sample must not depend on the number of rows.
        total = self._objective(logits, labels, targets).sum()
        (gradients,) = torch.autograd.grad(total, points)
        return values, gradients
