"""Foolbox's gradient attacks with two additions: no iterate goes unseen, and a sample is left alone once it is broken.

The attacks subclass Foolbox's public classes: their steps and projections are Foolbox's own hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from eagerpy.astensor import astensor, astensor_
from eagerpy.framework import clip
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.base import raise_if_kwargs, verify_input_bounds
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from foolbox.criteria import Criterion, Misclassification
from foolbox.models.base import Model
from torch import Tensor

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer_foolbox.contract import Reached, Tick, filled
from advtransfer_foolbox.objectives import Objective, objective


class Watched(BaseGradientDescent):
    """A gradient attack that keeps, per sample, the first misclassified iterate, and attacks that sample no more.

    The model sees `KERNEL_BATCH` rows at a time: as soon as a sample is done, another takes its row.
    """

    objective: Objective = staticmethod(objective("cross_entropy"))

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
        labels = _labels(criterion)
        start = clip(self.get_random_start(x, epsilon), *model.bounds).raw if self.random_start else None
        return restore(astensor(self.reach(model, x.raw, labels.raw, eps=epsilon, starts=start).inputs))

    def reach(
        self,
        model: Model,
        inputs: Tensor,
        labels: Tensor,
        *,
        eps: float,
        starts: Tensor | None = None,
        targets: Tensor | None = None,
        steps: int | None = None,
        tick: Tick = lambda done: None,
    ) -> Reached:
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
            rows, real = filled(under_way), slice(len(under_way))
            aims = None if targets is None else targets[rows]
            moved, missed, sound = self._step(model, inputs[rows], at[rows], labels[rows], aims, eps)
            at[under_way] = torch.where(_rows(missed, moved), at[rows], moved)[real]
            found[under_way], finite[under_way] = missed[real], finite[under_way] & sound[real]
            taken[under_way] += 1
            over = missed[real] | (taken[under_way] >= (self.steps if steps is None else steps))
            under_way, done = under_way[~over], done + int(over.sum())
            if done - told >= KERNEL_BATCH or done == len(at) > told:
                tick(done)
                told = done
        return Reached(at, found, finite, taken, taken)

    def _step(
        self, model: Model, inputs: Tensor, points: Tensor, labels: Tensor, targets: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next points, whether these are misclassified, and whether their gradients are finite.

        The sign of NaN is 0 in torch, so a NaN gradient would pass as a model that stands.
        """
        seen: list[Tensor] = []
        x, x0 = astensor(points), astensor(inputs)
        _, gradient = self.value_and_grad(self._losses(model, labels, targets, seen), x)
        size = self.rel_stepsize * eps if self.abs_stepsize is None else self.abs_stepsize
        step = self.get_optimizer(x, size)(self.normalize(gradient, x=x, bounds=model.bounds))
        moved = clip(self.project(x + step, x0, eps), *model.bounds)
        missed = seen[0].isfinite().all(1) & (seen[0].argmax(1) != labels)
        return moved.raw, missed, gradient.raw.isfinite().flatten(1).all(1)

    def _losses(
        self, model: Model, labels: Tensor, targets: Tensor | None, seen: list[Tensor]
    ) -> Callable[[EagerTensor], EagerTensor]:
        """The objective, summed so that samples do not depend on each other; `seen` gets the logits."""

        def loss_fn(points: EagerTensor) -> EagerTensor:
            logits = model(points).raw
            seen.append(logits.detach())
            return astensor(self.objective(logits, labels, targets).sum())

        return loss_fn


def _labels(criterion: object) -> EagerTensor:
    if isinstance(criterion, Criterion) and not isinstance(criterion, Misclassification):
        found = f"the criterion {type(criterion).__name__}"
        raise TypeError(
            f"found {found}; expected Misclassification, or labels (B,); use Foolbox's own attack for others"
        )
    labels: EagerTensor = criterion.labels if isinstance(criterion, Misclassification) else astensor(criterion)
    return labels


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))
