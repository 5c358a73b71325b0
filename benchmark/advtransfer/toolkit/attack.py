"""The inner attack of adversarial training. Evaluations attack with Foolbox; this one is only ever trained against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversary import Adversary, Norm
from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.objective import Perturb
from advtransfer.types import Task

Bounds: TypeAlias = tuple[float, float] | None


def pgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
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

    delta = _start(inputs, norm, eps, generator) if random_start else torch.zeros_like(inputs)
    with weights_frozen(model):
        return ascend(
            losses, inputs, delta, norm=norm, eps=eps, steps=steps, step_size=step_size, best=best, bounds=bounds
        )


def ascend(
    losses: Callable[[Tensor], Tensor],
    inputs: Tensor,
    delta: Tensor,
    *,
    norm: Norm,
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
        moved = boxed(inputs + delta, bounds).requires_grad_()
        found = losses(moved)
        # summed, not averaged: a sample's gradient is then the same in every batch
        (gradient,) = torch.autograd.grad(found.sum(), moved)
        if best:
            kept, highest = _better(moved.detach(), found.detach(), kept, highest)
        delta = project(moved.detach() + step_size * _direction(gradient, norm) - inputs, norm, eps)
    last = boxed(inputs + delta, bounds)
    if not best:
        return last
    with torch.no_grad():
        return _better(last, losses(last), kept, highest)[0]


def project(delta: Tensor, norm: Norm, eps: float) -> Tensor:
    """The point of the ball of radius `eps` nearest to each sample's `delta` ``(B, ...)``."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    return delta / (_lengths(delta) / eps).clamp_min(1)


def boxed(inputs: Tensor, bounds: Bounds) -> Tensor:
    """The inputs, clipped to the bounds where there are any.

    At a bound itself the gradient passes, as in torch 2.4. Newer versions of `clamp` give none there, and a black pixel
    would never be perturbed.
    """
    if bounds is None:
        return inputs
    clipped = inputs.clamp(*bounds)
    return torch.where(clipped == inputs, inputs, clipped.detach()) if inputs.requires_grad else clipped


def adversarial(adversary: Adversary, *, task: Task = "classes", bounds: Bounds = (0.0, 1.0)) -> Perturb:
    """What `train` takes as `perturb` to train against the adversary.

    The model is in eval mode while it is attacked, as in Engstrom et al. (2019): batch normalisation then learns the
    statistics of what is trained on, and not those of every iterate before it.
    """

    def perturb(model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        with evaluating(model):
            return pgd(
                model,
                inputs,
                labels,
                norm=adversary.norm,
                eps=adversary.eps,
                steps=adversary.steps,
                step_size=adversary.step,
                random_start=adversary.random_start,
                generator=generator,
                best=adversary.best,
                task=task,
                bounds=bounds,
            )

    return perturb


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode; afterwards each module is in the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _better(moved: Tensor, found: Tensor, kept: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """The better of two candidates, sample by sample; a loss that is not a number wins, so that it is not hidden."""
    wins = (found > highest) | found.isnan()
    return torch.where(wins.view(-1, *[1] * (moved.ndim - 1)), moved, kept), torch.where(wins, found, highest)


def _start(inputs: Tensor, norm: Norm, eps: float, generator: torch.Generator) -> Tensor:
    """A uniform point of the ball; drawn on the CPU, so that every device starts alike."""
    if norm == "linf":
        return ((2 * torch.rand(inputs.shape, generator=generator) - 1) * eps).to(inputs)
    direction = _direction(torch.randn(inputs.shape, generator=generator), norm)
    radius = torch.rand(len(inputs), generator=generator) ** (1 / inputs[0].numel())
    return (direction * (eps * radius).view(-1, *[1] * (inputs.ndim - 1))).to(inputs)


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 in the norm that ascends fastest; none where the gradient is zero."""
    if norm == "linf":
        return gradient.sign()
    return gradient / _lengths(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)


def _lengths(delta: Tensor) -> Tensor:
    """The l2 norm of each sample, ``(B, 1, ...)``."""
    lengths: Tensor = torch.linalg.vector_norm(delta, dim=tuple(range(1, delta.ndim)), keepdim=True)
    return lengths
