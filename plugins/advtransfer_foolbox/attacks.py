"""Foolbox's gradient attacks with two additions: keyed random starts, and no iterate goes unseen.

The attacks subclass Foolbox's public classes and override only hooks that Foolbox documents as such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from eagerpy.astensor import astensor
from eagerpy.framework import crossentropy
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.fast_gradient_method import L2FastGradientAttack, LinfFastGradientAttack
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from foolbox.attacks.projected_gradient_descent import (
    L2ProjectedGradientDescentAttack,
    LinfProjectedGradientDescentAttack,
)
from foolbox.criteria import Misclassification
from foolbox.models.base import Model
from torch import Tensor

from advtransfer_foolbox.budget import Norm


@dataclass(frozen=True, slots=True)
class Reached:
    """Where an attack came to: points ``(B, C, H, W)``, and whether all its gradients were finite ``(B,)``."""

    inputs: Tensor
    finite: Tensor


class Watched(BaseGradientDescent):
    """A gradient attack that starts from given noise and keeps, per sample, the first misclassified iterate."""

    _noise: Tensor | None
    _kept: Tensor
    _found: Tensor
    _finite: Tensor

    def reach(self, model: Model, inputs: Tensor, labels: Tensor, *, eps: float, noise: Tensor | None) -> Reached:
        """Attack ``(B, C, H, W)`` images, starting at ``inputs + eps * noise``.

        Args:
            model: The Foolbox model; its weights must not require gradients.
            inputs: Images within the model's bounds.
            labels: Classes ``(B,)``.
            eps: The ball's radius.
            noise: A point of the unit ball for each sample, needed by an attack with a random start.
        """
        self._noise = noise
        self._kept = inputs
        self._found = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        self._finite = torch.ones_like(self._found)
        last = self.run(model, inputs, Misclassification(labels), epsilon=eps)
        return Reached(torch.where(_rows(self._found, last), self._kept, last), self._finite)

    def get_random_start(self, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Foolbox's hook; its own draws from global state and depends on the batch."""
        return x0 + epsilon * astensor(self._noise)

    def get_loss_fn(self, model: Model, labels: EagerTensor) -> Callable[[EagerTensor], EagerTensor]:
        """Foolbox's hook: its cross entropy, summed so that samples do not depend on each other."""

        def loss_fn(inputs: EagerTensor) -> EagerTensor:
            logits = model(inputs)
            self._see(inputs.raw.detach(), logits.raw.detach(), labels.raw)
            return crossentropy(logits, labels).sum()

        return loss_fn

    def value_and_grad(
        self, loss_fn: Callable[[EagerTensor], EagerTensor], x: EagerTensor
    ) -> tuple[EagerTensor, EagerTensor]:
        """Foolbox's hook: the sign of NaN is 0 in torch, so a NaN gradient would pass as a model that stands."""
        value, gradient = super().value_and_grad(loss_fn, x)
        self._finite &= gradient.raw.isfinite().flatten(1).all(1)
        return value, gradient

    def _see(self, inputs: Tensor, logits: Tensor, labels: Tensor) -> None:
        new = logits.isfinite().all(1) & (logits.argmax(1) != labels) & ~self._found
        self._kept = torch.where(_rows(new, inputs), inputs, self._kept)
        self._found |= new


class WatchedLinfFastGradient(Watched, LinfFastGradientAttack):
    """One step in the l_inf ball."""


class WatchedL2FastGradient(Watched, L2FastGradientAttack):
    """One step in the l_2 ball."""


class WatchedLinfProjectedGradient(Watched, LinfProjectedGradientDescentAttack):
    """Projected gradient descent in the l_inf ball."""


class WatchedL2ProjectedGradient(Watched, L2ProjectedGradientDescentAttack):
    """Projected gradient descent in the l_2 ball."""


def fast_gradient(norm: Norm, *, random_start: bool) -> Watched:
    """One gradient step of size eps."""
    attack = WatchedLinfFastGradient if norm == "linf" else WatchedL2FastGradient
    return attack(random_start=random_start)


def projected_gradient(norm: Norm, *, steps: int, step_size: float, random_start: bool) -> Watched:
    """Steps of length `step_size`, each projected back into the ball and the box."""
    attack = WatchedLinfProjectedGradient if norm == "linf" else WatchedL2ProjectedGradient
    return attack(abs_stepsize=step_size, steps=steps, random_start=random_start)


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))
