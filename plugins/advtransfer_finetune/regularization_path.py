"""Choice of the penalty strength on held-out rows, all strengths of a split solved by one batched L-BFGS.

The problems of a split share the expensive work. Features are projected onto the span of the training rows: the penalty
keeps all weights there, so that no solution changes and few images make small problems. The strengths are then columns
of one matrix product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from advtransfer.errors import Inapplicable
from advtransfer_finetune.regression import (
    ABSENT_CLASS_LOGIT,
    FeatureScaling,
    FloatArray,
    LabelArray,
)

BoolArray: TypeAlias = NDArray[np.bool_]

LBFGS_MEMORY = 10
"""Pairs of steps and changes of the gradient that are remembered, as in scikit-learn's solver."""
SUFFICIENT_DECREASE, ROUNDING_ALLOWANCE, MAX_HALVINGS = 1e-4, 1e-14, 40
"""A step must lower the value by this share of what the slope promises, up to rounding; else it is halved, so often."""


@dataclass(frozen=True, slots=True)
class PenalizedRegressions:
    """The mean cross-entropy plus ``penalty / 2 |weights|^2``, at several penalties.

    Parameters are ``(S, K, D + 1)``; the last feature is 1, and its weights, the biases, are not penalised.

    Args:
        features: ``(N, D + 1)``.
        wanted: One-hot classes, ``(N, K)``.
        penalties: ``(S,)``.
    """

    features: FloatArray
    one_hot: FloatArray
    penalties: FloatArray

    def __call__(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The values ``(S,)`` and gradients ``(S, K, D + 1)`` at some parameters."""
        strengths, classes, _ = parameters.shape
        logits = (self.features @ parameters.reshape(strengths * classes, -1).T).reshape(
            -1, strengths, classes
        )
        logits -= logits.max(2, keepdims=True)
        likelihood = np.exp(logits)
        total = likelihood.sum(2, keepdims=True)
        likelihood /= total
        loss = np.log(total[:, :, 0]) - (logits * self.one_hot[:, None]).sum(2)
        residual = (likelihood - self.one_hot[:, None]).reshape(len(logits), -1) / len(logits)
        gradient = (residual.T @ self.features).reshape(parameters.shape)
        weights = parameters[:, :, :-1]
        gradient[:, :, :-1] += self.penalties[:, None, None] * weights
        return loss.mean(0) + self.penalties / 2 * np.square(weights).sum((1, 2)), gradient

    def select_problems(self, kept: BoolArray) -> PenalizedRegressions:
        """Some of the strengths."""
        return PenalizedRegressions(self.features, self.one_hot, self.penalties[kept])


def minimize_lbfgs(
    problems: PenalizedRegressions, start: FloatArray, *, tolerance: float, most: int
) -> tuple[FloatArray, BoolArray]:
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
    memory: deque[tuple[FloatArray, FloatArray]] = deque(maxlen=LBFGS_MEMORY)
    for _ in range(most):
        met = np.abs(gradient).max((1, 2)) <= tolerance
        if (met | stuck).any():
            found[here], converged[here] = at, met
            left = ~(met | stuck)
            here, at, value, gradient, problems = (
                here[left],
                at[left],
                value[left],
                gradient[left],
                problems.select_problems(left),
            )
            memory = deque(
                ((step[left], change[left]) for step, change in memory), maxlen=LBFGS_MEMORY
            )
        if not len(here):
            return found, converged
        moved, value, new, stuck = _line_search(
            problems, at, value, gradient, _search_direction(gradient, memory)
        )
        stuck |= _batched_dot(moved - at, new - gradient) <= 0  # flat up to rounding
        memory.append((moved - at, new - gradient))
        at, gradient = moved, new
    found[here], converged[here] = at, np.abs(gradient).max((1, 2)) <= tolerance
    return found, converged


def _search_direction(
    gradient: FloatArray, memory: Sequence[tuple[FloatArray, FloatArray]]
) -> FloatArray:
    """Minus the approximate inverse Hessian times the gradient; the first step is one of length 1 at most."""
    if not memory:
        length = np.sqrt(_batched_dot(gradient, gradient))
        return -gradient / np.maximum(length, 1)[:, None, None]
    left, used = gradient.copy(), []
    for step, change in reversed(memory):
        share = _batched_dot(step, left) / _batched_dot(step, change)
        used.append(share)
        left -= share[:, None, None] * change
    step, change = memory[-1]
    left *= (_batched_dot(step, change) / _batched_dot(change, change))[:, None, None]
    for (step, change), share in zip(memory, reversed(used), strict=True):
        left += (share - _batched_dot(change, left) / _batched_dot(step, change))[
            :, None, None
        ] * step
    return -left


def _line_search(
    problems: PenalizedRegressions,
    at: FloatArray,
    value: FloatArray,
    gradient: FloatArray,
    direction: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Where each problem goes, its value and gradient there, and whether no step lowers its value any more."""
    slope, length = _batched_dot(gradient, direction), np.ones(len(at))
    for _ in range(MAX_HALVINGS):
        moved = at + length[:, None, None] * direction
        new, there = problems(moved)
        high = new > value + SUFFICIENT_DECREASE * length * slope + ROUNDING_ALLOWANCE * np.abs(
            value
        )
        if not high.any():
            break
        length[high] /= 2
    return moved, new, there, high


def _batched_dot(left: FloatArray, right: FloatArray) -> FloatArray:
    found: FloatArray = np.einsum("skd,skd->s", left, right)
    return found


@dataclass(frozen=True, slots=True)
class FoldSplit:
    """Rows to fit and rows to measure on, by their positions."""

    fitted: LabelArray
    held_out: LabelArray


@dataclass(frozen=True, slots=True)
class RegularizationPath:
    """For each strength the share of held-out rows that were right, and whether every problem met the tolerance."""

    accuracies: tuple[float, ...]
    converged: bool

    @property
    def best_index(self) -> int:
        """The place of the best strength, of equal ones the first."""
        return max(range(len(self.accuracies)), key=self.accuracies.__getitem__)


def stratified_folds(
    labels: LabelArray, count: int, *, source: np.random.Generator
) -> list[FoldSplit]:
    """Splits that hold out each row once, and of every class as many rows as of the others, or one more.

    Raises:
        Inapplicable: There are more folds than rows, or without a fold one class is left.
    """
    if count > len(labels):
        raise Inapplicable(
            f"cross-validation over {count} folds needs as many images; there are {len(labels)}"
        )
    order = source.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % count
    splits = [
        FoldSplit(np.flatnonzero(fold != number), np.flatnonzero(fold == number))
        for number in range(count)
    ]
    if any(len(np.unique(labels[split.fitted])) < 2 for split in splits):
        raise Inapplicable(
            f"without one of its {count} folds, the training part has one class only; take fewer folds"
        )
    return splits


def fit_path(
    features: FloatArray,
    labels: LabelArray,
    splits: Sequence[FoldSplit],
    *,
    classes: int,
    strengths: Sequence[float],
    tolerance: float,
    max_iterations: int,
) -> RegularizationPath:
    """Fit each split at each strength, as `regress` does one by one, and measure on what it holds out.

    Args:
        features: Not standardised, ``(N, D)``: each split is by what it fits.
        labels: ``(N,)``.
        splits: What is fitted and what is held out.
        classes: K.
        strengths: Values of C.
        tolerance: The largest entry of the gradient of the mean objective at the end.
        max_iterations: The most steps of L-BFGS.
    """
    right, converged = np.zeros(len(strengths), int), True
    for split in splits:
        logits, met = _held_out_logits(
            features, labels, split, classes, np.array(strengths), tolerance, max_iterations
        )
        right += (logits.argmax(2) == labels[split.held_out]).sum(1)
        converged &= met
    held_out = sum(len(split.held_out) for split in splits)
    return RegularizationPath(tuple(float(count) / held_out for count in right), converged)


def _held_out_logits(
    features: FloatArray,
    labels: LabelArray,
    split: FoldSplit,
    classes: int,
    strengths: FloatArray,
    tolerance: float,
    most: int,
) -> tuple[FloatArray, bool]:
    """The logits of the held-out rows, ``(S, H, K)``, and whether all problems met the tolerance."""
    scaling = FeatureScaling.from_features(features[split.fitted])
    rows, held_out = _project_to_span(
        scaling(features[split.fitted]), scaling(features[split.held_out])
    )
    present, place = np.unique(labels[split.fitted], return_inverse=True)
    # of two classes `regress` penalises the difference of their weights, which is twice as far from 0 as each of them
    penalties = (2 if len(present) == 2 else 1) / (strengths * len(rows))
    problems = PenalizedRegressions(_with_bias_column(rows), np.eye(len(present))[place], penalties)
    start = np.zeros((len(strengths), len(present), rows.shape[1] + 1))
    parameters, met = minimize_lbfgs(problems, start, tolerance=tolerance, most=most)
    logits = np.full((len(strengths), len(held_out), classes), ABSENT_CLASS_LOGIT)
    logits[:, :, present] = _with_bias_column(held_out) @ parameters.transpose(0, 2, 1)
    return logits, bool(met.all())


def _project_to_span(rows: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both in coordinates of the span of `rows`, where these are fewer than their features."""
    if len(rows) >= rows.shape[1]:
        return rows, others
    axes, triangle = np.linalg.qr(rows.T)
    return triangle.T, others @ axes


def _with_bias_column(features: FloatArray) -> FloatArray:
    return np.hstack([features, np.ones((len(features), 1))])
