"""Auto-PGD as the inner attack of a training: ascent with momentum and halved steps.

Croce and Hein (2020), section 3 and algorithm 1. Evaluations attack with the Foolbox plugin's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversary import Apgd, TrainingNorm
from advtransfer.toolkit.losses import Perturb, task_loss
from advtransfer.toolkit.model_modes import in_eval_mode, weights_frozen
from advtransfer.toolkit.pgd import (
    Bounds,
    clip_to_bounds,
    draw_start,
    project_to_ball,
    row_column,
    steepest_direction,
)
from advtransfer.types import Task

MOMENTUM = 0.75
"""Weight alpha of the new step; 1 - alpha is that of the last one (equation 2)."""

MIN_INCREASES = 0.75
"""Share rho of a window's steps that must have increased the loss (condition 1)."""


def checkpoints(steps: int) -> list[int]:
    """Return the steps ``w_j = ceil(p_j * steps)`` at which the step size is checked.

    ``p_0 = 0``, ``p_1 = .22``, ``p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06)`` (section 3.2), as
    far as ``p_j <= 1``.
    """
    # In whole hundredths: sums of decimal fractions would round up to the next step.
    shares = [0, 22]
    while shares[-1] <= 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    # A few steps have equal checkpoints.
    return sorted({math.ceil(share * steps / 100) for share in shares[:-1]})


def apgd_perturb(adversary: Apgd, *, task: Task, bounds: Bounds) -> Perturb:
    """Return the `perturb` argument of `train` that trains against the adversary.

    The model is in eval mode while it is attacked, as in `pgd.pgd_perturb`.

    Args:
        adversary: The attack.
        task: The task whose loss is ascended.
        bounds: The smallest and the largest value of an input; None for no such box.
    """

    def perturb(
        model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        def losses(perturbed: Tensor) -> Tensor:
            return task_loss(task, model(perturbed), labels, reduction="none")

        start = torch.zeros_like(inputs)
        if adversary.random_start:
            start = draw_start(inputs, adversary.norm, adversary.eps, generator)
        with in_eval_mode(model), weights_frozen(model):
            return auto_projected_ascent(
                losses,
                inputs,
                start,
                norm=adversary.norm,
                eps=adversary.eps,
                steps=adversary.steps,
                bounds=bounds,
            )

    return perturb


def auto_projected_ascent(
    losses: Callable[[Tensor], Tensor],
    inputs: Tensor,
    delta: Tensor,
    *,
    norm: TrainingNorm,
    eps: float,
    steps: int,
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Ascend any loss by Auto-PGD, starting at ``inputs + delta``.

    Args:
        losses: From perturbed inputs ``(B, ...)`` to the loss of each sample ``(B,)``.
        inputs: ``(B, ...)``, the centres of the balls.
        delta: The start ``(B, ...)``, as the difference from the inputs.
        norm: The norm of the ball and of the steps, as in `pgd.pgd`.
        eps: The radius.
        steps: The number of steps, each of which costs one gradient.
        bounds: The smallest and the largest value of an input; None for no such box.

    Returns:
        The points of the highest loss ``(B, ...)``, detached; the start is one of them.
    """

    def project(points: Tensor) -> Tensor:
        return clip_to_bounds(inputs + project_to_ball(points - inputs, norm, eps), bounds)

    marks = checkpoints(steps)
    windows = {later: later - earlier for earlier, later in pairwise(marks)}
    points = previous = project(inputs + delta)
    progress = _Progress.at_start(points, eps=eps)
    for step in range(steps):
        evaluated = points.detach().requires_grad_()
        sample_losses = losses(evaluated)
        # Summed, not averaged: a sample's gradient is then the same in every batch.
        (gradient,) = torch.autograd.grad(sample_losses.sum(), evaluated)
        progress.record(points, sample_losses.detach(), gradient)
        last = points
        if step in windows:
            restarted = progress.halve_step_sizes(windows[step])
            # The momentum keeps the last iterate where a sample goes back to its best point.
            points = _select(restarted, progress.best_points, points)
            gradient = _select(restarted, progress.best_gradients, gradient)
        stepped = points + row_column(progress.step_sizes, points) * steepest_direction(
            gradient, norm
        )
        weight = 1.0 if step == 0 else MOMENTUM
        change = project(stepped) - points
        points = project(points + weight * change + (1 - weight) * (points - previous))
        previous = last
    with torch.no_grad():
        progress.record(points, losses(points), torch.zeros_like(points))
    return progress.best_points


@dataclass(slots=True, kw_only=True)
class _Progress:
    """The best point of each sample, and what decides about its step size.

    Attributes:
        best_points: The points of the highest loss so far, ``(B, ...)``.
        best_losses: Their losses ``(B,)``.
        best_gradients: Their gradients ``(B, ...)``.
        step_sizes: ``(B,)``.
        last_losses: The losses of the last points, ``(B,)``.
        increases: The number of steps since the last checkpoint that increased the loss.
        checked_losses: The best losses at the last checkpoint.
        was_halved: Where the step size was halved there.
    """

    best_points: Tensor
    best_losses: Tensor
    best_gradients: Tensor
    step_sizes: Tensor
    last_losses: Tensor
    increases: Tensor
    checked_losses: Tensor
    was_halved: Tensor

    @classmethod
    def at_start(cls, points: Tensor, *, eps: float) -> _Progress:
        """Return the state before the first evaluation; the first step is of 2 eps."""
        count = len(points)
        device = points.device
        return cls(
            best_points=points,
            best_losses=torch.full((count,), -math.inf, device=device),
            best_gradients=torch.zeros_like(points),
            step_sizes=torch.full((count,), 2 * eps, device=device, dtype=points.dtype),
            # The first evaluation is no increase.
            last_losses=torch.full((count,), math.inf, device=device),
            increases=torch.zeros(count, dtype=torch.int64, device=device),
            checked_losses=torch.full((count,), -math.inf, device=device),
            was_halved=torch.zeros(count, dtype=torch.bool, device=device),
        )

    def record(self, points: Tensor, losses: Tensor, gradients: Tensor) -> None:
        """Take losses ``(B,)`` and gradients at points into account."""
        # A NaN loss wins, so that a model that returns NaN under attack is not hidden.
        is_best = (losses > self.best_losses) | losses.isnan()
        self.best_losses = torch.where(is_best, losses, self.best_losses)
        self.best_points = _select(is_best, points, self.best_points)
        self.best_gradients = _select(is_best, gradients, self.best_gradients)
        self.increases = self.increases + (losses > self.last_losses)
        self.last_losses = losses

    def halve_step_sizes(self, window: int) -> Tensor:
        """Halve step sizes at the end of a window of steps; return where, ``(B,)`` bool.

        Condition 1: fewer than a share rho of the steps increased the loss. Condition 2: neither
        the step size changed at the last checkpoint nor the best loss since.
        """
        too_few = self.increases < MIN_INCREASES * window
        stalled = ~self.was_halved & (self.best_losses <= self.checked_losses)
        halved = too_few | stalled
        self.step_sizes = torch.where(halved, self.step_sizes / 2, self.step_sizes)
        self.last_losses = torch.where(halved, self.best_losses, self.last_losses)
        self.was_halved = halved
        self.checked_losses = self.best_losses
        self.increases = torch.zeros_like(self.increases)
        return halved


def _select(rows: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
    return torch.where(row_column(rows, chosen), chosen, others)
