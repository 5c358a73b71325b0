"""The inner attack of adversarial training. Evaluations attack with Foolbox; this one is only ever trained against."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.toolkit.recipe import Adversary, Norm
from advtransfer.toolkit.training import Perturb


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
) -> Tensor:
    """The last iterate of projected gradient ascent on the cross-entropy (Madry et al., 2018, section 2.1).

    No gradient with respect to the weights is built. The model runs in the mode it is in.

    Args:
        model: From inputs in [0, 1] to logits.
        inputs: ``(B, C, H, W)`` in [0, 1].
        labels: ``(B,)`` int64.
        norm: The norm of the ball; the step goes along the sign (linf) or the normalised gradient (l2).
        eps: Its radius, in [0, 1] pixel space.
        steps: The number of steps.
        step_size: The length of one step in that norm.
        random_start: Whether to start uniformly in the ball.
        generator: Where the start comes from: a CPU generator.

    Returns:
        ``(B, C, H, W)``, detached, within `eps` of the inputs and in [0, 1].
    """
    delta = _start(inputs, norm, eps, generator) if random_start else torch.zeros_like(inputs)
    with weights_frozen(model):
        for _ in range(steps):
            moved = (inputs + delta).clamp(0, 1).requires_grad_()
            # summed, not averaged: a sample's gradient is then the same in every batch
            loss = functional.cross_entropy(model(moved), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
            delta = project(moved.detach() + step_size * _direction(gradient, norm) - inputs, norm, eps)
    return (inputs + delta).clamp(0, 1)


def project(delta: Tensor, norm: Norm, eps: float) -> Tensor:
    """The point of the ball of radius `eps` nearest to each sample's `delta` ``(B, ...)``."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    return delta / (_lengths(delta) / eps).clamp_min(1)


def adversarial(adversary: Adversary) -> Perturb:
    """What `train` takes as `perturb` to train against the adversary."""

    def perturb(model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
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
        )

    return perturb


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
