"""Foolbox's gradient attacks by norm, stopped for each sample at its first misclassified iterate.

The attacks subclass Foolbox's public classes: their steps and projections are Foolbox's own hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from eagerpy.astensor import astensor, astensor_
from eagerpy.framework import clip
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.base import raise_if_kwargs, verify_input_bounds
from foolbox.attacks.basic_iterative_method import (
    L1BasicIterativeAttack,
    L2BasicIterativeAttack,
    LinfBasicIterativeAttack,
)
from foolbox.attacks.fast_gradient_method import (
    L1FastGradientAttack,
    L2FastGradientAttack,
    LinfFastGradientAttack,
)
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from foolbox.attacks.projected_gradient_descent import (
    L2ProjectedGradientDescentAttack,
    LinfProjectedGradientDescentAttack,
)
from foolbox.attacks.sparse_l1_descent_attack import SparseL1DescentAttack
from foolbox.criteria import Criterion, Misclassification
from foolbox.models.base import Model
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.prediction import KERNEL_BATCH, fill_batch
from advtransfer_foolbox.norms import project_onto_ball, scale_into_ball
from advtransfer_foolbox.options import BasicIterative, EpsMultiple, Fgsm, Loss, Pgd
from advtransfer_foolbox.protocols import BatchResult, OnProgress

Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Map logits ``(B, K)``, labels and target classes ``(B,)`` to the value to increase, ``(B,)``."""


def loss_objective(loss: Loss) -> Objective:
    """Return the objective that increases the loss of that name."""
    return {
        "cross_entropy": _cross_entropy,
        "margin": _logit_margin,
        "targeted_margin": _targeted_margin,
    }[loss]


def other_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the classes other than the label by decreasing logit, ``(B, K - 1)``."""
    return _mask_classes(logits, labels).sort(dim=1, descending=True, stable=True).indices[:, :-1]


def _cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def _logit_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the largest other logit minus the label's logit, ``(B,)``."""
    largest_other: Tensor = _mask_classes(logits, labels).max(dim=1).values
    return largest_other - _logits_of(logits, labels)


def _targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the target's logit minus the label's logit, ``(B,)``."""
    if targets is None:
        raise ValueError(
            "found no target classes; expected one per sample, (B,); "
            "use the loss 'margin' without targets"
        )
    return _logits_of(logits, targets) - _logits_of(logits, labels)


def _logits_of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _mask_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits with minus infinity at the labels."""
    return logits.scatter(1, labels[:, None], float("-inf"))


class TrackedGradientAttack(BaseGradientDescent):
    """A gradient attack that stops for each sample at its first misclassified iterate.

    The model always sees `KERNEL_BATCH` rows. The row of a finished sample goes to a waiting one.
    """

    objective: Objective = staticmethod(loss_objective("cross_entropy"))

    def run(
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        criterion: Any,  # noqa: ANN401  # Any: a criterion or the labels
        *,
        epsilon: float,
        **kwargs: Any,  # noqa: ANN401  # Any: as in Foolbox
    ) -> Any:  # noqa: ANN401  # Any: the type of `inputs`
        """Run `attack_batch` from Foolbox's own starting points (Foolbox's hook).

        Raises:
            TypeError: The criterion is not misclassification.
        """
        raise_if_kwargs(kwargs)
        x0, restore_type = astensor_(inputs)
        verify_input_bounds(x0, model)
        labels = _criterion_labels(criterion)
        starts = None
        if self.random_start:
            starts = clip(self.get_random_start(x0, epsilon), *model.bounds).raw
        result = self.attack_batch(model, x0.raw, labels.raw, eps=epsilon, starts=starts)
        return restore_type(astensor(result.points))

    def attack_batch(
        self,
        model: Model,
        inputs: Tensor,
        labels: Tensor,
        *,
        eps: float,
        starts: Tensor | None = None,
        targets: Tensor | None = None,
        steps: int | None = None,
        on_progress: OnProgress = lambda done: None,
    ) -> BatchResult:
        """Attack ``(B, C, H, W)`` images.

        Args:
            model: The Foolbox model; its weights must not require gradients.
            inputs: Images within the model's bounds.
            labels: Classes ``(B,)``.
            eps: Radius of the ball.
            starts: Starting points inside ball and bounds; the images by default.
            targets: Target classes ``(B,)`` of a targeted objective.
            steps: Number of steps; the attack's own by default.
            on_progress: Called from time to time with the number of finished samples.
        """
        step_limit = self.steps if steps is None else steps
        points = (inputs if starts is None else starts).clone()
        steps_done = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        is_adversarial = torch.zeros_like(steps_done, dtype=torch.bool)
        all_finite = torch.ones_like(is_adversarial)
        queue = torch.arange(len(points), device=points.device)
        active = queue[:0]
        done_count = 0
        reported_count = 0
        while len(active) or len(queue):
            # Kernels of another batch size round differently, so the batch must not shrink when
            # samples finish. Their rows are refilled from the queue up to KERNEL_BATCH, and with
            # copies only once the queue is empty: no result then depends on the other samples.
            free_rows = KERNEL_BATCH - len(active)
            active = torch.cat([active, queue[:free_rows]])
            queue = queue[free_rows:]
            rows = fill_batch(active)

            row_targets = None if targets is None else targets[rows]
            step = self._take_step(
                model, points[rows], inputs[rows], labels[rows], row_targets, eps
            ).first_rows(len(active))
            points[active] = step.points
            is_adversarial[active] = step.is_adversarial
            all_finite[active] &= step.is_finite
            steps_done[active] += 1

            finished = step.is_adversarial | (steps_done[active] >= step_limit)
            active = active[~finished]
            done_count += int(finished.sum())
            all_done = done_count == len(points)
            if all_done or done_count - reported_count >= KERNEL_BATCH:
                on_progress(done_count)
                reported_count = done_count
        return BatchResult(points, is_adversarial, all_finite, steps_done, steps_done)

    def _take_step(
        self,
        model: Model,
        points: Tensor,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None,
        eps: float,
    ) -> _Step:
        """Take a step of Foolbox's `BaseGradientDescent.run` from each point that is not adversarial."""
        x = astensor(points)
        x0 = astensor(inputs)
        recorded_logits: list[Tensor] = []
        loss_fn = self._loss_function(model, labels, targets, recorded_logits)
        step_size = self.rel_stepsize * eps if self.abs_stepsize is None else self.abs_stepsize
        optimizer = self.get_optimizer(x, step_size)

        _, gradients = self.value_and_grad(loss_fn, x)
        # torch's sign of NaN is 0, so steps along NaN gradients would pass as a robust model.
        is_finite = gradients.raw.isfinite().flatten(1).all(1)
        gradients = self.normalize(gradients, x=x, bounds=model.bounds)
        x = x + optimizer(gradients)
        x = self.project(x, x0, eps)
        x = clip(x, *model.bounds)

        (logits,) = recorded_logits
        is_adversarial = logits.isfinite().all(1) & (logits.argmax(1) != labels)
        # The logits are those of the point before the step: an adversarial point is kept.
        kept_points = torch.where(_broadcast_mask(is_adversarial, x.raw), points, x.raw)
        return _Step(kept_points, is_adversarial, is_finite)

    def _loss_function(
        self, model: Model, labels: Tensor, targets: Tensor | None, recorded_logits: list[Tensor]
    ) -> Callable[[EagerTensor], EagerTensor]:
        """Return the objective as a Foolbox loss function that appends its logits to the list."""

        def loss_fn(points: EagerTensor) -> EagerTensor:
            logits = model(points).raw
            recorded_logits.append(logits.detach())
            # A sum, not a mean: the gradient of a sample must not depend on the number of rows.
            return astensor(self.objective(logits, labels, targets).sum())

        return loss_fn


class _Step(NamedTuple):
    """Points after one step; and per row, if it was adversarial before, and its gradient finite."""

    points: Tensor
    is_adversarial: Tensor
    is_finite: Tensor

    def first_rows(self, count: int) -> _Step:
        """Return the first rows; the others are copies that fill the kernel batch."""
        return _Step(*(column[:count] for column in self))


def _criterion_labels(criterion: object) -> EagerTensor:
    if isinstance(criterion, Misclassification):
        labels: EagerTensor = criterion.labels
        return labels
    if isinstance(criterion, Criterion):
        raise TypeError(
            f"found the criterion {type(criterion).__name__}; expected Misclassification, "
            "or labels (B,); use Foolbox's own attack for others"
        )
    return astensor(criterion)


def _broadcast_mask(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))


class ScaledL1Projection:
    """Foolbox's projection onto the l_1 ball (scaling towards the image), computed in float64.

    In float32, Foolbox's own leaves points outside the ball.
    """

    def project(self, x: EagerTensor, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Return ``x`` moved into the balls around ``x0`` (Foolbox's hook)."""
        return astensor(scale_into_ball(x.raw, x0.raw, order=1, eps=epsilon))


class TrackedLinfFastGradient(TrackedGradientAttack, LinfFastGradientAttack):
    """One gradient step in the l_inf ball."""


class TrackedL2FastGradient(TrackedGradientAttack, L2FastGradientAttack):
    """One gradient step in the l_2 ball."""


# `ScaledL1Projection` comes first in the bases, so that its `project` replaces Foolbox's.
class TrackedL1FastGradient(ScaledL1Projection, TrackedGradientAttack, L1FastGradientAttack):
    """One gradient step in the l_1 ball."""


class TrackedLinfProjectedGradient(TrackedGradientAttack, LinfProjectedGradientDescentAttack):
    """Projected gradient descent in the l_inf ball."""


class TrackedL2ProjectedGradient(TrackedGradientAttack, L2ProjectedGradientDescentAttack):
    """Projected gradient descent in the l_2 ball."""


class TrackedSparseL1Descent(TrackedGradientAttack, SparseL1DescentAttack):
    """Sparse descent in the l_1 ball (Tramer and Boneh, 2019), with a projection of our own.

    The projection of Foolbox 3.3.4 leaves points slightly outside the ball, and moves points that
    are inside as soon as another point of the batch is outside.
    """

    def project(self, x: EagerTensor, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Return ``x`` moved into the balls around ``x0`` (Foolbox's hook)."""
        return astensor(project_onto_ball(x.raw, x0.raw, norm="l1", eps=epsilon))


class TrackedLinfBasicIterative(TrackedGradientAttack, LinfBasicIterativeAttack):
    """Gradient steps from the image in the l_inf ball."""


class TrackedL2BasicIterative(TrackedGradientAttack, L2BasicIterativeAttack):
    """Gradient steps from the image in the l_2 ball."""


class TrackedL1BasicIterative(ScaledL1Projection, TrackedGradientAttack, L1BasicIterativeAttack):
    """Gradient steps from the image in the l_1 ball."""


_FAST_GRADIENT: dict[Norm, Callable[..., TrackedGradientAttack]] = {
    "linf": TrackedLinfFastGradient,
    "l2": TrackedL2FastGradient,
    "l1": TrackedL1FastGradient,
}
_PROJECTED_GRADIENT: dict[Norm, Callable[..., TrackedGradientAttack]] = {
    "linf": TrackedLinfProjectedGradient,
    "l2": TrackedL2ProjectedGradient,
    "l1": TrackedSparseL1Descent,
}
_BASIC_ITERATIVE: dict[Norm, Callable[..., TrackedGradientAttack]] = {
    "linf": TrackedLinfBasicIterative,
    "l2": TrackedL2BasicIterative,
    "l1": TrackedL1BasicIterative,
}


def fast_gradient(norm: Norm, settings: Fgsm) -> TrackedGradientAttack:
    """Return the attack of one gradient step of size eps."""
    # Foolbox's class sets one step of size eps itself.
    attack = _FAST_GRADIENT[norm](random_start=settings.random_start)
    attack.objective = loss_objective(settings.loss)
    return attack


def projected_gradient(norm: Norm, settings: Pgd) -> TrackedGradientAttack:
    """Return projected gradient descent; each step ends inside the ball and the box."""
    attack = _PROJECTED_GRADIENT[norm](
        **_step_size_argument(settings.step_size),
        steps=settings.steps,
        random_start=settings.random_start,
    )
    attack.objective = loss_objective(settings.loss)
    return attack


def basic_iterative(norm: Norm, settings: BasicIterative) -> TrackedGradientAttack:
    """Return Foolbox's basic iterative method, which starts at the image."""
    attack = _BASIC_ITERATIVE[norm](
        **_step_size_argument(settings.step_size), steps=settings.steps, random_start=False
    )
    attack.objective = loss_objective(settings.loss)
    return attack


def _step_size_argument(step_size: float | EpsMultiple) -> dict[str, float]:
    """Return the step size as the keyword argument of Foolbox's constructors."""
    if isinstance(step_size, EpsMultiple):
        return {"rel_stepsize": step_size.times_eps}
    return {"abs_stepsize": step_size}
