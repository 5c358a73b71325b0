"""Gradient ascent inside a ball in l_inf or l_2: the battery's own attack.

It also records zero and non-finite gradients, which are signs of masked gradients.

It shares no loop with training or with any plugin, since a verifier that runs the loop it verifies
would repeat its faults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.worker.verification.ball import Ball

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Function from logits ``(B, K)`` and classes ``(B,)`` to one loss per row ``(B,)``.

The classes are the labels, or for `targeted_margin_loss` the labels beside the targets, ``(B, 2)``.
"""


WAITING_STEPS = 8
"""Steps after which an ascent on a GPU drops the rows that are finished."""


@dataclass(frozen=True, slots=True)
class AscentResult:
    """Result of a gradient ascent, sample by sample.

    Args:
        points: Last iterates ``(B, ...)``; for a broken sample the iterate that broke it.
        broken: Whether an iterate was misclassified, ``(B,)`` bool.
        zero_gradient: Whether a gradient on the way was exactly zero, ``(B,)`` bool.
        non_finite: Whether a logit or a gradient on the way was NaN or infinite, ``(B,)`` bool.
    """

    points: Tensor
    broken: Tensor
    zero_gradient: Tensor
    non_finite: Tensor


@dataclass(frozen=True, slots=True)
class Rivals:
    """Rows of a batch that ascend from the same samples, those of each sample one after another.

    Once a row breaks its sample, all rows of that sample stop.

    Args:
        count: Number of rows of each sample.
        trial_steps: Number of steps after which only the best rows of each sample go on.
        kept: Number of those.
    """

    count: int
    trial_steps: int
    kept: int

    def any_broken(self, broken: Tensor) -> Tensor:
        """Return for each row whether any row of its sample is broken, ``(B,)`` bool."""
        return broken.view(-1, self.count).any(1).repeat_interleave(self.count)

    def winners(self, losses: Tensor) -> Tensor:
        """Return the rows of largest loss ``(B,)`` among those of their sample, ``(B,)`` bool."""
        of_samples = losses.view(-1, self.count)
        best = of_samples.argsort(dim=1, descending=True, stable=True)[:, : self.kept]
        return torch.zeros_like(of_samples, dtype=torch.bool).scatter(1, best, value=True).flatten()


def targeted_margin_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the target's logit minus the label's, ``(B,)``, from labels and targets ``(B, 2)``."""
    label_logit, target_logit = logits.gather(1, classes).unbind(1)
    return target_logit - label_logit


def margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest logit of another class minus the label's, ``(B,)``."""
    is_label = nn.functional.one_hot(labels, logits.shape[1]).bool()
    largest = logits.masked_fill(is_label, -torch.inf).amax(1)
    return largest - logits.gather(1, labels[:, None]).squeeze(1)


def cross_entropy_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each row, ``(B,)``: the loss that most attacks ascend."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def gradient_ascent(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    start: Tensor,
    steps: int,
    loss: Loss,
    scale: float = 1.0,
    targets: Tensor | None = None,
    rivals: Rivals | None = None,
    on: bool = False,
) -> AscentResult:
    """Ascend `loss` from `start`; a sample stops at its first misclassified iterate in the ball.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``, the centres of the balls.
        labels: ``(B,)``.
        ball: Ball that the iterates stay in: in l_inf or l_2 (in l_1 see `sparse_ascent`).
        start: ``(B, ...)``, inside the balls.
        steps: Number of steps.
        loss: Loss to ascend.
        scale: Factor of the step lengths.
        targets: Classes ``(B,)`` for `targeted_margin_loss`.
        rivals: Which rows belong to one sample; None if each is a sample of its own.
        on: Continue with broken samples, and with their rivals, until the last step.
    """
    classes = labels if targets is None else torch.stack([labels, targets], dim=1)
    points = start.clone()
    broken = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    zero_gradient = torch.zeros_like(broken)
    non_finite = torch.zeros_like(broken)
    best_losses = torch.full_like(labels, -torch.inf, dtype=inputs.dtype)
    active = torch.arange(len(inputs), device=inputs.device)
    going = torch.ones_like(broken)
    for k in range(steps):
        if not len(active):
            break
        logits, gradient = logits_and_gradient(model, points[active], classes[active], loss)
        finite = logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        non_finite[active] |= going & ~finite
        zero_gradient[active] |= going & (gradient.flatten(1) == 0).all(1)
        # A NaN logit can win the argmax, so a misclassification counts only where all is finite.
        broken[active] |= going & finite & (logits.argmax(1) != labels[active])
        if not on:
            going &= ~broken[active]
        if rivals is not None:
            losses = loss(logits, classes[active])
            best_losses[active] = torch.maximum(best_losses[active], losses)
            if not on:
                going &= ~rivals.any_broken(broken)[active]
            if k == rivals.trial_steps:
                going &= rivals.winners(best_losses)[active]
        if _drops_rows(k, rivals, inputs.device):
            still = going.nonzero().flatten()
            active, gradient, going = active[still], gradient[still], going[still]
        stepped = ball.take_step(
            points[active],
            gradient,
            progress=k / (steps - 1) if steps > 1 else 1.0,
            inputs=inputs[active],
            scale=scale,
        )
        points[active] = torch.where(
            going.view(-1, *[1] * (inputs.ndim - 1)), stepped, points[active]
        )
    if len(active):
        # The iterate after the last step has not been classified yet.
        logits = logits_of(model, points[active])
        finite = logits.isfinite().all(1)
        non_finite[active] |= going & ~finite
        broken[active] |= going & finite & (logits.argmax(1) != labels[active])
    return AscentResult(points, broken, zero_gradient, non_finite)


def _drops_rows(step: int, rivals: Rivals | None, device: torch.device) -> bool:
    """Return whether finished rows leave the batch after this step.

    A GPU has to be waited for to know which they are, and computes a few rows in vain in less time.
    """
    is_trial_end = rivals is not None and step == rivals.trial_steps
    return device.type == "cpu" or is_trial_end or (step + 1) % WAITING_STEPS == 0


def logits_and_gradient(
    model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Return logits ``(B, K)`` and the gradient of the loss by the inputs ``(B, ...)``.

    Both are computed in chunks of a fixed size.
    """
    class_count = 0

    def logits_beside_gradient(rows: Tensor, truth: Tensor) -> Tensor:
        nonlocal class_count
        with torch.enable_grad():
            variable = rows.detach().requires_grad_()
            logits = model(variable)
            class_count = logits.shape[1]
            gradient = input_gradient(loss(logits, truth), variable)
        return torch.cat([logits.detach(), gradient.flatten(1)], dim=1)

    # `apply_in_chunks` returns one tensor, so both results travel side by side in its columns.
    together = apply_in_chunks(logits_beside_gradient, inputs, labels)
    return together[:, :class_count], together[:, class_count:].view_as(inputs)


def input_gradient(losses: Tensor, inputs: Tensor, *, keep_graph: bool = False) -> Tensor:
    """Return the gradient of each row's loss ``(B,)`` by its input ``(B, ...)``."""
    # Summed, not averaged: a sample's gradient is then the same in every batch.
    total = losses.sum()
    # Outputs without a gradient function count as a zero gradient, which is reported.
    if not total.requires_grad:
        return torch.zeros_like(inputs)
    (gradient,) = torch.autograd.grad(
        total, inputs, retain_graph=keep_graph, materialize_grads=True
    )
    return gradient


def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits ``(B, K)``, computed in chunks of a fixed size."""
    with torch.inference_mode():
        logits = apply_in_chunks(model, inputs)
    # A clone made outside is a normal tensor; inference tensors cannot be updated in place.
    return logits.clone()
