"""Logistic regressions that differ in their penalty alone, minimised together by one L-BFGS."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from advtransfer_finetune.regression import Array

Chosen: TypeAlias = NDArray[np.bool_]

MEMORY = 10
"""Pairs of steps and changes of the gradient that are remembered, as in scikit-learn's solver."""
SUFFICIENT, ROUNDING, HALVINGS = 1e-4, 1e-14, 40
"""A step must lower the value by this share of what the slope promises, up to rounding; else it is halved, so often."""


@dataclass(frozen=True, slots=True)
class Problems:
    """The mean cross-entropy plus ``penalty / 2 |weights|^2``, at several penalties.

    Parameters are ``(S, K, D + 1)``; the last feature is 1, and its weights, the biases, are not penalised.

    Args:
        features: ``(N, D + 1)``.
        wanted: One-hot classes, ``(N, K)``.
        penalties: ``(S,)``.
    """

    features: Array
    wanted: Array
    penalties: Array

    def __call__(self, parameters: Array) -> tuple[Array, Array]:
        """The values ``(S,)`` and gradients ``(S, K, D + 1)`` at some parameters."""
        strengths, classes, _ = parameters.shape
        logits = (self.features @ parameters.reshape(strengths * classes, -1).T).reshape(-1, strengths, classes)
        logits -= logits.max(2, keepdims=True)
        likelihood = np.exp(logits)
        total = likelihood.sum(2, keepdims=True)
        likelihood /= total
        loss = np.log(total[:, :, 0]) - (logits * self.wanted[:, None]).sum(2)
        residual = (likelihood - self.wanted[:, None]).reshape(len(logits), -1) / len(logits)
        gradient = (residual.T @ self.features).reshape(parameters.shape)
        weights = parameters[:, :, :-1]
        gradient[:, :, :-1] += self.penalties[:, None, None] * weights
        return loss.mean(0) + self.penalties / 2 * np.square(weights).sum((1, 2)), gradient

    def only(self, kept: Chosen) -> Problems:
        """Some of the strengths."""
        return Problems(self.features, self.wanted, self.penalties[kept])


def minimise(problems: Problems, start: Array, *, tolerance: float, most: int) -> tuple[Array, Chosen]:
    """L-BFGS (Liu and Nocedal, 1989) on every problem at once; one that is over is left out from then on.

    Args:
        problems: What is minimised.
        start: Parameters ``(S, K, D + 1)``.
        tolerance: The largest entry of a gradient at the end.
        most: The most steps.

    Returns:
        The parameters, and which problems ``(S,)`` have met the tolerance.
    """
    found, converged = start.copy(), np.zeros(len(start), bool)
    here, at, stuck = np.arange(len(start)), start, np.zeros(len(start), bool)
    value, gradient = problems(at)
    memory: deque[tuple[Array, Array]] = deque(maxlen=MEMORY)
    for _ in range(most):
        met = np.abs(gradient).max((1, 2)) <= tolerance
        if (met | stuck).any():
            found[here], converged[here] = at, met
            left = ~(met | stuck)
            here, at, value, gradient, problems = here[left], at[left], value[left], gradient[left], problems.only(left)
            memory = deque(((step[left], change[left]) for step, change in memory), maxlen=MEMORY)
        if not len(here):
            return found, converged
        moved, value, new, stuck = _moved(problems, at, value, gradient, _direction(gradient, memory))
        stuck |= _dot(moved - at, new - gradient) <= 0  # flat up to rounding
        memory.append((moved - at, new - gradient))
        at, gradient = moved, new
    found[here], converged[here] = at, np.abs(gradient).max((1, 2)) <= tolerance
    return found, converged


def _direction(gradient: Array, memory: Sequence[tuple[Array, Array]]) -> Array:
    """Minus the approximate inverse Hessian times the gradient; the first step is one of length 1 at most."""
    if not memory:
        length = np.sqrt(_dot(gradient, gradient))
        return -gradient / np.maximum(length, 1)[:, None, None]
    left, used = gradient.copy(), []
    for step, change in reversed(memory):
        share = _dot(step, left) / _dot(step, change)
        used.append(share)
        left -= share[:, None, None] * change
    step, change = memory[-1]
    left *= (_dot(step, change) / _dot(change, change))[:, None, None]
    for (step, change), share in zip(memory, reversed(used), strict=True):
        left += (share - _dot(change, left) / _dot(step, change))[:, None, None] * step
    return -left


def _moved(
    problems: Problems, at: Array, value: Array, gradient: Array, direction: Array
) -> tuple[Array, Array, Array, Chosen]:
    """Where each problem goes, its value and gradient there, and whether no step lowers its value any more."""
    slope, length = _dot(gradient, direction), np.ones(len(at))
    for _ in range(HALVINGS):
        moved = at + length[:, None, None] * direction
        new, there = problems(moved)
        high = new > value + SUFFICIENT * length * slope + ROUNDING * np.abs(value)
        if not high.any():
            break
        length[high] /= 2
    return moved, new, there, high


def _dot(left: Array, right: Array) -> Array:
    found: Array = np.einsum("skd,skd->s", left, right)
    return found
