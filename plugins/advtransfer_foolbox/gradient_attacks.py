"""Foolbox's gradient attacks by norm, which keep the first misclassified iterate of each sample and then leave the sample alone.

The attacks subclass Foolbox's public classes: their steps and projections are Foolbox's own hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

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

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer_foolbox.norms import project_onto_ball, scale_into_ball
from advtransfer_foolbox.options import EpsMultiple, Loss, Norm
from advtransfer_foolbox.protocols import BatchResult, OnProgress, fill_kernel_batch

Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From logits ``(B, K)``, classes ``(B,)`` and target classes ``(B,)`` to one number a sample ``(B,)``."""


def loss_objective(loss: Loss) -> Objective:
    """The objective of a loss."""
    return {
        "cross_entropy": _cross_entropy,
        "margin": _logit_margin,
        "targeted_margin": _targeted_margin,
    }[loss]


def other_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """The classes that are not the sample's own, by falling logit, ``(B, K - 1)``."""
    return _mask_classes(logits, labels).sort(dim=1, descending=True, stable=True).indices[:, :-1]


def _cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def _logit_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """By how much the best other class leads."""
    best: Tensor = _mask_classes(logits, labels).max(dim=1).values
    return best - _logits_of(logits, labels)


def _targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """By how much the target class leads."""
    if targets is None:
        raise ValueError(
            "found no target classes; expected one a sample, (B,); use the loss 'margin' without targets"
        )
    return _logits_of(logits, targets) - _logits_of(logits, labels)


def _logits_of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _mask_classes(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], float("-inf"))


class TrackedGradientAttack(BaseGradientDescent):
    """A gradient attack that keeps, per sample, the first misclassified iterate, and attacks that sample no more.

    The model sees `KERNEL_BATCH` rows at a time: as soon as a sample is done, another takes its row.
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
    ) -> Any:  # noqa: ANN401  # Any: what `inputs` is
        """Foolbox's entry, from Foolbox's own start: what `reach` gives.

        Raises:
            TypeError: The criterion is another than misclassification.
        """
        raise_if_kwargs(kwargs)
        x, restore = astensor_(inputs)
        verify_input_bounds(x, model)
        labels = _criterion_labels(criterion)
        start = (
            clip(self.get_random_start(x, epsilon), *model.bounds).raw
            if self.random_start
            else None
        )
        return restore(
            astensor(self.attack_batch(model, x.raw, labels.raw, eps=epsilon, starts=start).points)
        )

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
        tick: OnProgress = lambda done: None,
    ) -> BatchResult:
        """Attack ``(B, C, H, W)`` images.

        Args:
            model: The Foolbox model; its weights must not require gradients.
            inputs: Images within the model's bounds.
            labels: Classes ``(B,)``.
            eps: The ball's radius.
            starts: Where to start, within ball and bounds; by default at the images.
            targets: Classes to move towards ``(B,)``, where the objective has use for them.
            steps: The number of steps; by default the attack's.
            tick: Told from time to time how many samples are done.
        """
        at = (inputs if starts is None else starts).clone()
        taken = torch.zeros(len(at), dtype=torch.int64, device=at.device)
        found = torch.zeros_like(taken, dtype=torch.bool)
        finite = torch.ones_like(found)
        waiting = torch.arange(len(at), device=at.device)
        under_way, done, told = waiting[:0], 0, 0
        while len(under_way) or len(waiting):
            free = KERNEL_BATCH - len(under_way)
            under_way, waiting = torch.cat([under_way, waiting[:free]]), waiting[free:]
            rows, real = fill_kernel_batch(under_way), slice(len(under_way))
            aims = None if targets is None else targets[rows]
            moved, missed, sound = self._take_step(
                model, inputs[rows], at[rows], labels[rows], aims, eps
            )
            at[under_way] = torch.where(_broadcast_mask(missed, moved), at[rows], moved)[real]
            found[under_way], finite[under_way] = missed[real], finite[under_way] & sound[real]
            taken[under_way] += 1
            over = missed[real] | (taken[under_way] >= (self.steps if steps is None else steps))
            under_way, done = under_way[~over], done + int(over.sum())
            if done - told >= KERNEL_BATCH or done == len(at) > told:
                tick(done)
                told = done
        return BatchResult(at, found, finite, taken, taken)

    def _take_step(
        self,
        model: Model,
        inputs: Tensor,
        points: Tensor,
        labels: Tensor,
        targets: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next points, whether these are misclassified, and whether their gradients are finite.

        The sign of NaN is 0 in torch, so a NaN gradient would pass as a model that stands.
        """
        seen: list[Tensor] = []
        x, x0 = astensor(points), astensor(inputs)
        _, gradient = self.value_and_grad(self._loss_function(model, labels, targets, seen), x)
        size = self.rel_stepsize * eps if self.abs_stepsize is None else self.abs_stepsize
        step = self.get_optimizer(x, size)(self.normalize(gradient, x=x, bounds=model.bounds))
        moved = clip(self.project(x + step, x0, eps), *model.bounds)
        missed = seen[0].isfinite().all(1) & (seen[0].argmax(1) != labels)
        return moved.raw, missed, gradient.raw.isfinite().flatten(1).all(1)

    def _loss_function(
        self, model: Model, labels: Tensor, targets: Tensor | None, seen: list[Tensor]
    ) -> Callable[[EagerTensor], EagerTensor]:
        """The objective, summed so that samples do not depend on each other; `seen` gets the logits."""

        def loss_fn(points: EagerTensor) -> EagerTensor:
            logits = model(points).raw
            seen.append(logits.detach())
            return astensor(self.objective(logits, labels, targets).sum())

        return loss_fn


def _criterion_labels(criterion: object) -> EagerTensor:
    if isinstance(criterion, Criterion) and not isinstance(criterion, Misclassification):
        found = f"the criterion {type(criterion).__name__}"
        raise TypeError(
            f"found {found}; expected Misclassification, or labels (B,); use Foolbox's own attack for others"
        )
    labels: EagerTensor = (
        criterion.labels if isinstance(criterion, Misclassification) else astensor(criterion)
    )
    return labels


def _broadcast_mask(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))


class ScaledL1Projection:
    """Foolbox's way back into the l_1 ball, straight towards the image, in float64: its own leaves points outside."""

    def project(self, x: EagerTensor, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Foolbox's hook."""
        return astensor(scale_into_ball(x.raw, x0.raw, order=1, eps=epsilon))


class TrackedLinfFastGradient(TrackedGradientAttack, LinfFastGradientAttack):
    """One step in the l_inf ball."""


class TrackedL2FastGradient(TrackedGradientAttack, L2FastGradientAttack):
    """One step in the l_2 ball."""


class TrackedL1FastGradient(ScaledL1Projection, TrackedGradientAttack, L1FastGradientAttack):
    """One step in the l_1 ball."""


class TrackedLinfProjectedGradient(TrackedGradientAttack, LinfProjectedGradientDescentAttack):
    """Projected gradient descent in the l_inf ball."""


class TrackedL2ProjectedGradient(TrackedGradientAttack, L2ProjectedGradientDescentAttack):
    """Projected gradient descent in the l_2 ball."""


class TrackedSparseL1Descent(TrackedGradientAttack, SparseL1DescentAttack):
    """Sparse descent in the l_1 ball (Tramer and Boneh, 2019), with a projection that ends inside the ball.

    Foolbox 3.3.4's own leaves points slightly outside, and moves those that were inside when another of the batch
    was not.
    """

    def project(self, x: EagerTensor, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Foolbox's hook."""
        return astensor(project_onto_ball(x.raw, x0.raw, norm="l1", eps=epsilon))


class TrackedLinfBasicIterative(TrackedGradientAttack, LinfBasicIterativeAttack):
    """Steps from the image in the l_inf ball."""


class TrackedL2BasicIterative(TrackedGradientAttack, L2BasicIterativeAttack):
    """Steps from the image in the l_2 ball."""


class TrackedL1BasicIterative(ScaledL1Projection, TrackedGradientAttack, L1BasicIterativeAttack):
    """Steps from the image in the l_1 ball."""


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


def fast_gradient(
    norm: Norm, *, random_start: bool, loss: Loss = "cross_entropy"
) -> TrackedGradientAttack:
    """One gradient step of size eps."""
    return _set_objective(_FAST_GRADIENT[norm](random_start=random_start), loss)


def projected_gradient(
    norm: Norm,
    *,
    steps: int,
    step_size: float | EpsMultiple,
    random_start: bool,
    loss: Loss = "cross_entropy",
) -> TrackedGradientAttack:
    """Steps of length `step_size`, each projected back into the ball and the box."""
    return _set_objective(
        _PROJECTED_GRADIENT[norm](
            **_step_size_option(step_size), steps=steps, random_start=random_start
        ),
        loss,
    )


def basic_iterative(
    norm: Norm, *, steps: int, step_size: float | EpsMultiple, loss: Loss = "cross_entropy"
) -> TrackedGradientAttack:
    """The same without a random start, as Foolbox has it."""
    return _set_objective(
        _BASIC_ITERATIVE[norm](**_step_size_option(step_size), steps=steps, random_start=False),
        loss,
    )


def _step_size_option(step_size: float | EpsMultiple) -> dict[str, float]:
    """A step's length as Foolbox takes it."""
    return (
        {"rel_stepsize": step_size.times_eps}
        if isinstance(step_size, EpsMultiple)
        else {"abs_stepsize": step_size}
    )


def _set_objective(attack: TrackedGradientAttack, loss: Loss) -> TrackedGradientAttack:
    attack.objective = loss_objective(loss)
    return attack
