"""Projected gradient ascent, the inner attack of adversarial training.

Evaluations attack with Foolbox instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversary import Adversary, TrainingNorm
from advtransfer.toolkit.losses import Perturb, task_loss
from advtransfer.toolkit.model_modes import in_eval_mode, weights_frozen
from advtransfer.toolkit.prediction import kernel_batches
from advtransfer.types import Samples, Task

Bounds: TypeAlias = tuple[float, float] | None


def pgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: TrainingNorm,
    eps: float,
    steps: int,
    step_size: float,
    random_start: bool,
    generator: torch.Generator,
    best: bool = False,
    task: Task = "classes",
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Perturb inputs by PGD on the task's loss (Madry et al., 2018, section 2.1).

    No gradient with respect to the weights is built. The model runs in the mode it is in.

    Args:
        model: From inputs to outputs.
        inputs: ``(B, ...)`` in the bounds.
        labels: The labels of the task.
        norm: The norm of the ball. Steps follow the sign of the gradient (linf) or the normalised
            gradient (l2).
        eps: The radius of the ball, in the unit of the inputs ([0, 1] pixel space).
        steps: The number of steps.
        step_size: The length of one step in `norm`.
        random_start: Start at a uniformly random point of the ball instead of its centre.
        generator: The CPU generator that the start is drawn from.
        best: Return each sample's iterate of the highest loss, the start included, instead of the
            last one.
        task: The task whose loss is ascended.
        bounds: The smallest and the largest value of an input; None for no such box.

    Returns:
        The perturbed inputs ``(B, ...)``, detached, within `eps` of the inputs and in the bounds.
    """

    def losses(perturbed: Tensor) -> Tensor:
        return task_loss(task, model(perturbed), labels, reduction="none")

    delta = torch.zeros_like(inputs)
    if random_start:
        delta = draw_start(inputs, norm, eps, generator)
    with weights_frozen(model):
        return projected_ascent(
            losses,
            inputs,
            delta,
            norm=norm,
            eps=eps,
            steps=steps,
            step_size=step_size,
            best=best,
            bounds=bounds,
        )


def projected_ascent(
    losses: Callable[[Tensor], Tensor],
    inputs: Tensor,
    delta: Tensor,
    *,
    norm: TrainingNorm,
    eps: float,
    steps: int,
    step_size: float,
    best: bool = False,
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Ascend any loss by projected gradient steps, starting at ``inputs + delta``.

    Args:
        losses: From perturbed inputs ``(B, ...)`` to the loss of each sample ``(B,)``.
        inputs: ``(B, ...)``, the centres of the balls.
        delta: The start ``(B, ...)``, as the difference from the inputs.
        norm: The norm of the ball and of the steps, as in `pgd`.
        eps: The radius.
        steps: The number of steps.
        step_size: The length of one step.
        best: Return the iterate of the highest loss instead of the last one.
        bounds: The smallest and the largest value of an input; None for no such box.

    Returns:
        The perturbed inputs ``(B, ...)``, detached.
    """
    best_inputs = inputs
    best_losses = torch.full((len(inputs),), -torch.inf, device=inputs.device)
    for _ in range(steps):
        perturbed = clip_to_bounds(inputs + delta, bounds).requires_grad_()
        sample_losses = losses(perturbed)
        # Summed, not averaged: a sample's gradient is then the same in every batch.
        (gradient,) = torch.autograd.grad(sample_losses.sum(), perturbed)
        if best:
            best_inputs, best_losses = keep_better(
                perturbed.detach(), sample_losses.detach(), best_inputs, best_losses
            )
        # In place from here on: the gradient is nobody else's.
        step = steepest_direction(gradient, norm).mul_(step_size)
        delta = project_to_ball(step.add_(perturbed.detach()).sub_(inputs), norm, eps)
    last = clip_to_bounds(inputs + delta, bounds)
    if not best:
        return last
    with torch.no_grad():
        return keep_better(last, losses(last), best_inputs, best_losses)[0]


def project_to_ball(delta: Tensor, norm: TrainingNorm, eps: float) -> Tensor:
    """Return the point of the ball of radius `eps` nearest to each row of `delta` ``(B, ...)``."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    # The clamp leaves perturbations inside the ball as they are.
    return delta / (_l2_norms(delta) / eps).clamp_min(1)


def clip_to_bounds(inputs: Tensor, bounds: Bounds) -> Tensor:
    """Return the inputs clipped to the bounds; unchanged if there are none."""
    if bounds is None:
        return inputs
    clipped = inputs.clamp(*bounds)
    if not inputs.requires_grad:
        return clipped
    # At a bound the gradient must pass, as in torch 2.4. Newer versions of clamp stop it there, and
    # a black pixel would never be perturbed.
    return torch.where(clipped == inputs, inputs, clipped.detach())


def pgd_perturb(
    adversary: Adversary, *, task: Task = "classes", bounds: Bounds = (0.0, 1.0)
) -> Perturb:
    """Return the `perturb` argument of `train` that trains against the adversary.

    The model is in eval mode while it is attacked, as in Engstrom et al. (2019): batch
    normalisation then learns the statistics of the inputs trained on, not those of every iterate
    before them.

    Args:
        adversary: The attack.
        task: The task whose loss is ascended.
        bounds: The smallest and the largest value of an input; None for no such box.
    """

    def perturb(
        model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        with in_eval_mode(model):
            return pgd(
                model,
                inputs,
                labels,
                norm=adversary.norm,
                eps=adversary.eps,
                steps=adversary.steps,
                step_size=adversary.effective_step_size,
                random_start=adversary.random_start,
                generator=generator,
                best=adversary.best,
                task=task,
                bounds=bounds,
            )

    return perturb


def measure_robust_accuracy(
    model: nn.Module,
    samples: Samples,
    adversary: Adversary,
    *,
    generator: torch.Generator,
    device: torch.device,
) -> float:
    """Return the share of samples that the model predicts correctly after a PGD attack.

    This number is for watching a training. It is not verified; results come from evaluations.

    Args:
        model: From inputs to logits ``(B, K)``, in eval mode.
        samples: The samples, whose labels are classes; attacked within the bounds on their card.
        adversary: The attack.
        generator: The CPU generator that random starts are drawn from, batch after batch.
        device: Where to compute.
    """
    correct_count = 0
    for _, inputs, labels in kernel_batches(samples):
        truth = labels.to(device)
        perturbed = pgd(
            model,
            inputs.to(device),
            truth,
            norm=adversary.norm,
            eps=adversary.eps,
            steps=adversary.steps,
            step_size=adversary.effective_step_size,
            random_start=adversary.random_start,
            generator=generator,
            best=adversary.best,
            bounds=samples.card.bounds,
        )
        with torch.no_grad():
            correct_count += int((model(perturbed).argmax(1) == truth).sum())
    return correct_count / len(samples)


def keep_better(
    inputs: Tensor, losses: Tensor, best_inputs: Tensor, best_losses: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the inputs ``(B, ...)`` and losses ``(B,)`` of the better candidate of each sample."""
    # A NaN loss wins, so that a model that returns NaN under attack is not hidden.
    is_better = (losses > best_losses) | losses.isnan()
    mask = row_column(is_better, inputs)
    return torch.where(mask, inputs, best_inputs), torch.where(is_better, losses, best_losses)


def row_column(values: Tensor, like: Tensor) -> Tensor:
    """Return one value a sample ``(B,)`` in a shape that broadcasts over samples ``(B, ...)``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def draw_start(
    inputs: Tensor, norm: TrainingNorm, eps: float, generator: torch.Generator
) -> Tensor:
    """Return a uniformly random point of the ball for each sample, ``(B, ...)``."""
    # Drawn on the CPU, so that every device starts at the same points.
    if norm == "linf":
        return ((2 * torch.rand(inputs.shape, generator=generator) - 1) * eps).to(inputs)
    direction = steepest_direction(torch.randn(inputs.shape, generator=generator), norm)
    # The d-th root makes the point uniform in the volume of the d-dimensional ball.
    radius = torch.rand(len(inputs), generator=generator) ** (1 / inputs[0].numel())
    return (direction * row_column(eps * radius, inputs)).to(inputs)


def steepest_direction(gradient: Tensor, norm: TrainingNorm) -> Tensor:
    """Return the step of length 1 that ascends fastest; zero where the gradient is zero."""
    if norm == "linf":
        return gradient.sign()
    # The clamp keeps a zero gradient zero instead of NaN.
    return gradient / _l2_norms(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)


def _l2_norms(delta: Tensor) -> Tensor:
    """Return the l2 norm of each sample, ``(B, 1, ...)``."""
    lengths: Tensor = torch.linalg.vector_norm(delta, dim=tuple(range(1, delta.ndim)), keepdim=True)
    return lengths
