"""The inner attack of adversarial training: projected gradient ascent.

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
    """Projected gradient ascent on the task's loss (Madry et al., 2018, section 2.1).

    No gradient with respect to the weights is built. The model runs in the mode it is in.

    Args:
        model: From inputs to outputs.
        inputs: ``(B, ...)`` in the bounds.
        labels: The labels of the task.
        norm: The norm of the ball; the step goes along the sign (linf) or the normalised gradient (l2).
        eps: Its radius, in the unit of the inputs: [0, 1] pixel space.
        steps: The number of steps.
        step_size: The length of one step in that norm.
        random_start: Whether to start uniformly in the ball.
        generator: Where the start comes from: a CPU generator.
        best: Keep each sample's iterate of the highest loss, the start among them, instead of the last.
        task: Which loss is ascended.
        bounds: The smallest and the largest value an input may take; None for no such box.

    Returns:
        ``(B, ...)``, detached, within `eps` of the inputs and in the bounds.
    """

    def losses(moved: Tensor) -> Tensor:
        return task_loss(task, model(moved), labels, reduction="none")

    delta = (
        _random_start(inputs, norm, eps, generator) if random_start else torch.zeros_like(inputs)
    )
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
    """Projected gradient ascent on any loss, from ``inputs + delta`` on.

    Args:
        losses: From moved inputs ``(B, ...)`` to the loss of each sample ``(B,)``.
        inputs: ``(B, ...)``, the centres of the balls.
        delta: Where to start, as the difference from the inputs.
        norm: As in `pgd`, like all that follow.
        eps: The radius.
        steps: The number of steps.
        step_size: The length of one step.
        best: Keep the iterate of the highest loss instead of the last.
        bounds: The box.
    """
    kept, highest = inputs, torch.full((len(inputs),), -torch.inf, device=inputs.device)
    for _ in range(steps):
        moved = clip_to_bounds(inputs + delta, bounds).requires_grad_()
        found = losses(moved)
        # summed, not averaged: a sample's gradient is then the same in every batch
        (gradient,) = torch.autograd.grad(found.sum(), moved)
        if best:
            kept, highest = _keep_better(moved.detach(), found.detach(), kept, highest)
        delta = project_to_ball(
            moved.detach() + step_size * _steepest_direction(gradient, norm) - inputs, norm, eps
        )
    last = clip_to_bounds(inputs + delta, bounds)
    if not best:
        return last
    with torch.no_grad():
        return _keep_better(last, losses(last), kept, highest)[0]


def project_to_ball(delta: Tensor, norm: TrainingNorm, eps: float) -> Tensor:
    """The point of the ball of radius `eps` nearest to each sample's `delta` ``(B, ...)``."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    return delta / (_l2_norms(delta) / eps).clamp_min(1)


def clip_to_bounds(inputs: Tensor, bounds: Bounds) -> Tensor:
    """The inputs, clipped to the bounds where there are any.

    At a bound itself the gradient passes, as in torch 2.4. Newer versions of `clamp` give none there, and a black pixel
    would never be perturbed.
    """
    if bounds is None:
        return inputs
    clipped = inputs.clamp(*bounds)
    return (
        torch.where(clipped == inputs, inputs, clipped.detach())
        if inputs.requires_grad
        else clipped
    )


def pgd_perturb(
    adversary: Adversary, *, task: Task = "classes", bounds: Bounds = (0.0, 1.0)
) -> Perturb:
    """What `train` takes as `perturb` to train against the adversary.

    The model is in eval mode while it is attacked, as in Engstrom et al. (2019): batch normalisation then learns the
    statistics of what is trained on, and not those of every iterate before it.
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


def _keep_better(
    moved: Tensor, found: Tensor, kept: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    """The better of two candidates, sample by sample; a loss that is not a number wins, so that it is not hidden."""
    wins = (found > highest) | found.isnan()
    return torch.where(wins.view(-1, *[1] * (moved.ndim - 1)), moved, kept), torch.where(
        wins, found, highest
    )


def _random_start(
    inputs: Tensor, norm: TrainingNorm, eps: float, generator: torch.Generator
) -> Tensor:
    """A uniform point of the ball; drawn on the CPU, so that every device starts alike."""
    if norm == "linf":
        return ((2 * torch.rand(inputs.shape, generator=generator) - 1) * eps).to(inputs)
    direction = _steepest_direction(torch.randn(inputs.shape, generator=generator), norm)
    radius = torch.rand(len(inputs), generator=generator) ** (1 / inputs[0].numel())
    return (direction * (eps * radius).view(-1, *[1] * (inputs.ndim - 1))).to(inputs)


def _steepest_direction(gradient: Tensor, norm: TrainingNorm) -> Tensor:
    """The step of length 1 in the norm that ascends fastest; none where the gradient is zero."""
    if norm == "linf":
        return gradient.sign()
    return gradient / _l2_norms(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)


def _l2_norms(delta: Tensor) -> Tensor:
    """The l2 norm of each sample, ``(B, 1, ...)``."""
    lengths: Tensor = torch.linalg.vector_norm(delta, dim=tuple(range(1, delta.ndim)), keepdim=True)
    return lengths
