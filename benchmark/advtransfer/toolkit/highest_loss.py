"""Adversarial examples of the highest loss, by the attack of `advtransfer.toolkit.loss_attack`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.loss_attack import LossAttack
from advtransfer.toolkit.option_checks import require_radius
from advtransfer.toolkit.pgd import (
    clip_to_bounds,
    keep_better,
    project_to_ball,
    row_column,
    steepest_direction,
)
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches
from advtransfer.types import Context, Samples, Shape

SMALLEST_SCALE = 0.9
"""The smallest size of an image under `LossAttack.input_diversity`, as a share of its own."""

DIVERSITY_NUMBERS = 4
"""Uniform numbers that a sample takes at a step: if it is scaled, how far, and where it is put."""


def log_odds_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log-sum-exp of the other logits minus the label's logit, ``(B,)``.

    Cross-entropy is ``log(1 + exp(f))`` of this value ``f``: both rise together, but the gradient of
    cross-entropy is 0 in float32 where the model is confident.

    Args:
        logits: ``(B, K)``, K at least 2.
        labels: ``(B,)`` int64 classes.
    """
    is_label = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
    others = logits.masked_fill(is_label, -torch.inf)
    return others.logsumexp(dim=1) - logits.gather(1, labels[:, None])[:, 0]


def highest_loss_examples(
    losses: Callable[..., Tensor],
    samples: Samples,
    *targets: Tensor,
    attack: LossAttack,
    seed: int,
    context: Context,
) -> Tensor:
    """Return each sample's point of the highest loss in its ball, ``(N, *shape)`` on the CPU.

    The iterate of the highest loss over all steps and restarts, the starts included. A sample's
    random numbers depend on the seed and its key only, so that every model is attacked from the
    same starts; its example does not depend on the other samples.

    Args:
        losses: From points ``(B, *shape)`` and the rows of the targets, all on the context's
            device, to the loss of each sample ``(B,)``; its models must be frozen and in eval mode.
        samples: The samples, whose bounds are those of the card.
        *targets: Tensors ``(N, ...)`` whose rows `losses` takes, such as labels.
        attack: The attack.
        seed: Seed of the random starts and of input diversity.
        context: Device and random streams.

    Raises:
        ValueError: The radius is larger than the data allow.
    """
    card = samples.card
    require_radius(attack.eps, attack.norm, shape=card.shape, bounds=card.bounds)
    device = context.device
    examples: list[Tensor] = []
    for positions, inputs, _ in kernel_batches(samples):
        keys = [samples.keys[position] for position in positions.tolist()]
        rows = [inputs.to(device), *(target[positions].to(device) for target in targets)]
        best = torch.full((len(inputs),), -torch.inf, device=device)
        points = rows[0]
        for restart in range(attack.restarts):
            starts = _starts(keys, card.shape, attack, seed, restart, context)
            diversity = _diversity_numbers(keys, attack, seed, restart, context)
            ascent = _Ascent(losses, attack, card.bounds)
            found = apply_in_chunks(ascent, starts.to(device), diversity.to(device), *rows)
            with torch.no_grad():
                found_losses = apply_in_chunks(losses, found, *rows[1:])
            points, best = keep_better(found, found_losses, points, best)
        examples.append(points.cpu())
        context.progress(int(positions[-1]) + 1, len(samples))
    return torch.cat(examples)


class _Ascent:
    """The ascent of one batch from its starts."""

    def __init__(
        self, losses: Callable[..., Tensor], attack: LossAttack, bounds: tuple[float, float] | None
    ) -> None:
        self._losses = losses
        self._attack = attack
        self._bounds = bounds

    def __call__(
        self, starts: Tensor, diversity: Tensor, inputs: Tensor, *targets: Tensor
    ) -> Tensor:
        """Return the iterates of the highest loss ``(B, *shape)``."""
        attack = self._attack
        points = clip_to_bounds(inputs + attack.eps * starts, self._bounds)
        best_points = points
        best_losses = torch.full((len(inputs),), -torch.inf, device=inputs.device)
        momentum = torch.zeros_like(inputs)
        for step in range(attack.steps):
            losses, gradients = self._differentiate(points, diversity[:, step], targets)
            best_points, best_losses = keep_better(points, losses, best_points, best_losses)
            if attack.momentum:
                # Dong et al. (2018, equation 6): gradients of length 1 in l_1 are accumulated.
                momentum = attack.momentum * momentum + _unit_l1(gradients)
                gradients = momentum
            moved = points + attack.effective_step_size * steepest_direction(gradients, attack.norm)
            delta = project_to_ball(moved - inputs, attack.norm, attack.eps)
            points = clip_to_bounds(inputs + delta, self._bounds)
        with torch.no_grad():
            losses = self._losses(points, *targets)
        return keep_better(points, losses, best_points, best_losses)[0]

    def _differentiate(
        self, points: Tensor, diversity: Tensor, targets: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """Return the losses at the points ``(B,)``, and the gradients of the step."""
        points = points.detach().requires_grad_()
        probability = self._attack.input_diversity
        with torch.enable_grad():
            seen = scale_at_random(points, diversity, probability) if probability else points
            losses = self._losses(seen, *targets)
            # Summed, not averaged: a sample's gradient is then the same in every batch.
            (gradients,) = torch.autograd.grad(losses.sum(), points)
        if probability:
            # The example is handed on as it is, so its loss counts as it is.
            with torch.no_grad():
                losses = self._losses(points, *targets)
        return losses.detach(), gradients


def scale_at_random(images: Tensor, numbers: Tensor, probability: float) -> Tensor:
    """Return images scaled down and placed at random on black, after Xie et al. (2019).

    They enlarge images for networks of any input size; here the size stays as it is.

    Args:
        images: ``(B, C, H, W)``.
        numbers: Uniform numbers in [0, 1), ``(B, DIVERSITY_NUMBERS)``.
        probability: The probability that an image is scaled.
    """
    is_scaled = numbers[:, 0] < probability
    scale = SMALLEST_SCALE + (1 - SMALLEST_SCALE) * numbers[:, 1]
    scale = torch.where(is_scaled, scale, torch.ones_like(scale))
    height, width = images.shape[2:]
    rows = _placement(height, scale, numbers[:, 2]).to(images.dtype)
    columns = _placement(width, scale, numbers[:, 3]).to(images.dtype)
    # Two products of matrices: their gradients are the same on every run, as those of torch's
    # resizing on a GPU are not.
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def _placement(size: int, scale: Tensor, offset: Tensor) -> Tensor:
    """Return the matrices ``(B, size, size)`` that scale a line of pixels and place it on black."""
    pixels = torch.arange(size, device=scale.device, dtype=torch.float32) + 0.5
    start = offset * size * (1 - scale)
    # Where in the image each pixel of the result lies; outside it the result is black.
    places = (pixels[None] - start[:, None]) / scale[:, None]
    is_inside = (places >= 0) & (places <= size)
    distances = places.clamp(0.5, size - 0.5)[:, :, None] - pixels[None, None]
    weights = (1 - distances.abs()).clamp_min(0)
    return weights * is_inside[:, :, None]


def _starts(
    keys: Sequence[int], shape: Shape, attack: LossAttack, seed: int, restart: int, context: Context
) -> Tensor:
    """Return a uniform random point of the unit ball for each sample, or the centre."""
    if not attack.random_start:
        return torch.zeros((len(keys), *shape))
    size = math.prod(shape)
    count = size if attack.norm == "linf" else size + 1
    numbers = context.uniform(f"loss attack {seed}", keys, (count,), restart=restart)
    return unit_ball_points(numbers, attack.norm).reshape(-1, *shape)


def unit_ball_points(numbers: Tensor, norm: TrainingNorm) -> Tensor:
    """Return uniform points of the unit ball ``(B, D)`` float32.

    Args:
        numbers: Uniform multiples of 2**-24 in [0, 1), ``(B, D)`` for linf, ``(B, D + 1)`` for l2.
        norm: The norm of the ball.
    """
    # In NumPy and float64: torch may round the last rows of a tensor differently.
    uniform = numbers.double().numpy()
    if norm == "linf":
        return torch.from_numpy((2 * uniform - 1).astype(np.float32))
    normal = ndtri(uniform[:, :-1] + 2.0**-25)
    size = normal.shape[1]
    lengths = np.sqrt(np.square(normal).sum(axis=1, keepdims=True))
    # The volume within radius r grows with r ** D, so a uniform radius needs this root.
    radii = uniform[:, -1:] ** (1 / size)
    return torch.from_numpy((normal / lengths * radii).astype(np.float32))


def _diversity_numbers(
    keys: Sequence[int], attack: LossAttack, seed: int, restart: int, context: Context
) -> Tensor:
    """Return the random numbers of input diversity, ``(B, steps, DIVERSITY_NUMBERS)``."""
    shape = (attack.steps, DIVERSITY_NUMBERS)
    if not attack.input_diversity:
        return torch.zeros((len(keys), *shape))
    return context.uniform(f"input diversity {seed}", keys, shape, restart=restart)


def _unit_l1(gradients: Tensor) -> Tensor:
    """Return gradients of length 1 in l_1; zero where they are zero."""
    largest = gradients.abs().flatten(1).amax(1).clamp_min(torch.finfo(gradients.dtype).tiny)
    # By the largest entry first, so that the sum of tiny ones does not underflow.
    scaled = gradients / row_column(largest, gradients)
    return scaled / row_column(scaled.abs().flatten(1).sum(1).clamp_min(1), gradients)
