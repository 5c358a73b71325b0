"""Choice of the penalty strength on held-out rows, all strengths by one batched L-BFGS.

The problems of a split share the expensive work. Features are projected onto the span of the
training rows: the penalty keeps all weights in this span, so that no solution changes, and few
images make small problems. The strengths are then columns of one matrix product.
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
"""Number of remembered pairs of steps and gradient changes, as in scikit-learn's solver."""
SUFFICIENT_DECREASE = 1e-4
"""A step must lower the value by this share of the decrease that the slope predicts."""
ROUNDING_ALLOWANCE = 1e-14
"""Share of the value by which rounding may raise it."""
MAX_HALVINGS = 40
"""Largest number of times that a step is halved."""


@dataclass(frozen=True, slots=True)
class PenalizedRegressions:
    """Mean cross-entropy plus ``penalty / 2 |weights|^2``, at several penalties.

    Parameters are ``(S, K, D + 1)``. The last feature is 1, and its weights, the biases, are not
    penalised.

    Args:
        features: ``(N, D + 1)``.
        one_hot: One-hot classes, ``(N, K)``.
        penalties: ``(S,)``.
    """

    features: FloatArray
    one_hot: FloatArray
    penalties: FloatArray

    def __call__(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the values ``(S,)`` and gradients ``(S, K, D + 1)`` at some parameters."""
        strengths, classes, _ = parameters.shape
        # One matrix product serves all strengths.
        logits = self.features @ parameters.reshape(strengths * classes, -1).T
        logits = logits.reshape(-1, strengths, classes)
        # Without the shift, exp overflows for large logits.
        logits -= logits.max(2, keepdims=True)
        probabilities = np.exp(logits)
        total = probabilities.sum(2, keepdims=True)
        probabilities /= total
        one_hot = self.one_hot[:, None]
        loss = np.log(total[:, :, 0]) - (logits * one_hot).sum(2)
        residual = (probabilities - one_hot).reshape(len(logits), -1) / len(logits)
        gradient = (residual.T @ self.features).reshape(parameters.shape)
        weights = parameters[:, :, :-1]
        gradient[:, :, :-1] += self.penalties[:, None, None] * weights
        penalty = self.penalties / 2 * np.square(weights).sum((1, 2))
        return loss.mean(0) + penalty, gradient

    def select_problems(self, mask: BoolArray) -> PenalizedRegressions:
        """Return the problems of some penalties, by a mask ``(S,)``."""
        return PenalizedRegressions(self.features, self.one_hot, self.penalties[mask])


def minimize_lbfgs(
    problems: PenalizedRegressions, start: FloatArray, *, tolerance: float, max_iterations: int
) -> tuple[FloatArray, BoolArray]:
    """Minimise all problems at once by L-BFGS (Liu and Nocedal, 1989).

    A problem that has ended is left out of the following steps.

    Args:
        problems: The problems to minimise.
        start: Parameters ``(S, K, D + 1)``.
        tolerance: Largest entry of a gradient at the end.
        max_iterations: Largest number of steps.

    Returns:
        The parameters, and which problems ``(S,)`` have met the tolerance.
    """
    solutions = start.copy()
    converged = np.zeros(len(start), bool)
    active = np.arange(len(start))
    parameters = start
    is_stuck = np.zeros(len(start), bool)
    values, gradients = problems(parameters)
    memory: deque[tuple[FloatArray, FloatArray]] = deque(maxlen=LBFGS_MEMORY)
    for _ in range(max_iterations):
        has_met = np.abs(gradients).max((1, 2)) <= tolerance
        has_ended = has_met | is_stuck
        if has_ended.any():
            solutions[active] = parameters
            converged[active] = has_met
            active = active[~has_ended]
            parameters = parameters[~has_ended]
            values = values[~has_ended]
            gradients = gradients[~has_ended]
            # Problems that have ended cost nothing from here on.
            problems = problems.select_problems(~has_ended)
            pairs = [(step[~has_ended], change[~has_ended]) for step, change in memory]
            memory = deque(pairs, maxlen=LBFGS_MEMORY)
        if not len(active):
            return solutions, converged
        direction = _search_direction(gradients, memory)
        search = _line_search(problems, parameters, values, gradients, direction)
        step = search.parameters - parameters
        change = search.gradients - gradients
        # Where the curvature along the step is not positive, the value is flat up to rounding.
        is_stuck = search.is_stuck | (_batched_dot(step, change) <= 0)
        memory.append((step, change))
        parameters = search.parameters
        values = search.values
        gradients = search.gradients
    solutions[active] = parameters
    converged[active] = np.abs(gradients).max((1, 2)) <= tolerance
    return solutions, converged


def _search_direction(
    gradients: FloatArray, memory: Sequence[tuple[FloatArray, FloatArray]]
) -> FloatArray:
    """Return minus the approximate inverse Hessian times the gradient, by the two-loop recursion.

    The first step has length 1 at most.
    """
    if not memory:
        length = np.sqrt(_batched_dot(gradients, gradients))
        return -gradients / np.maximum(length, 1)[:, None, None]
    direction = gradients.copy()
    shares = []
    for step, change in reversed(memory):
        share = _batched_dot(step, direction) / _batched_dot(step, change)
        shares.append(share)
        direction -= share[:, None, None] * change
    # The scale of the initial inverse Hessian, from the latest step.
    step, change = memory[-1]
    scale = _batched_dot(step, change) / _batched_dot(change, change)
    direction *= scale[:, None, None]
    for (step, change), share in zip(memory, reversed(shares), strict=True):
        correction = share - _batched_dot(change, direction) / _batched_dot(step, change)
        direction += correction[:, None, None] * step
    return -direction


@dataclass(frozen=True, slots=True)
class _SearchResult:
    """Parameters after a line search, with their values and gradients.

    `is_stuck` marks the problems whose value no step lowers any more.
    """

    parameters: FloatArray
    values: FloatArray
    gradients: FloatArray
    is_stuck: BoolArray


def _line_search(
    problems: PenalizedRegressions,
    parameters: FloatArray,
    values: FloatArray,
    gradients: FloatArray,
    direction: FloatArray,
) -> _SearchResult:
    """Move each problem along its direction, halving the step until its value decreases enough."""
    slope = _batched_dot(gradients, direction)
    length = np.ones(len(parameters))
    for _ in range(MAX_HALVINGS):
        moved = parameters + length[:, None, None] * direction
        new_values, new_gradients = problems(moved)
        # Armijo's condition, with room for rounding near the minimum.
        largest = values + SUFFICIENT_DECREASE * length * slope
        is_too_high = new_values > largest + ROUNDING_ALLOWANCE * np.abs(values)
        if not is_too_high.any():
            break
        length[is_too_high] /= 2
    return _SearchResult(moved, new_values, new_gradients, is_too_high)


def _batched_dot(first: FloatArray, second: FloatArray) -> FloatArray:
    products: FloatArray = np.einsum("skd,skd->s", first, second)
    return products


@dataclass(frozen=True, slots=True)
class FoldSplit:
    """Positions of the rows to fit and of the rows to measure on."""

    fitted: LabelArray
    held_out: LabelArray


@dataclass(frozen=True, slots=True)
class RegularizationPath:
    """Result of several penalty strengths on held-out rows.

    Attributes:
        accuracies: Share of correct held-out rows for each strength.
        converged: Every problem has met the tolerance.
    """

    accuracies: tuple[float, ...]
    converged: bool

    @property
    def best_index(self) -> int:
        """Index of the best strength, of equal ones the first."""
        return max(range(len(self.accuracies)), key=self.accuracies.__getitem__)


def stratified_folds(
    labels: LabelArray, count: int, *, source: np.random.Generator
) -> list[FoldSplit]:
    """Return splits that hold out each row once, with equal shares of every class up to one row.

    Raises:
        Inapplicable: There are more folds than rows, or the rest without a fold has one class only.
    """
    if count > len(labels):
        raise Inapplicable(
            f"cross-validation over {count} folds needs as many images; there are {len(labels)}"
        )
    order = source.permutation(len(labels))
    # A stable sort keeps the random order within each class, and neighbours get different folds.
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % count
    splits = [
        FoldSplit(np.flatnonzero(fold != number), np.flatnonzero(fold == number))
        for number in range(count)
    ]
    if any(len(np.unique(labels[split.fitted])) < 2 for split in splits):
        raise Inapplicable(
            f"without one of its {count} folds, the training part has one class only; "
            "take fewer folds"
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
    """Fit each split at each strength, as `fit_regression` does one by one, and measure it.

    Args:
        features: Not standardized, ``(N, D)``: each split is standardized by its fitted rows.
        labels: ``(N,)``.
        splits: Rows to fit and rows to hold out.
        classes: K.
        strengths: Values of C.
        tolerance: Largest entry of the gradient of the mean objective at the end.
        max_iterations: Largest number of L-BFGS steps.
    """
    correct = np.zeros(len(strengths), int)
    converged = True
    for split in splits:
        logits, has_converged = _held_out_logits(
            features, labels, split, classes, np.array(strengths), tolerance, max_iterations
        )
        correct += (logits.argmax(2) == labels[split.held_out]).sum(1)
        converged &= has_converged
    held_out = sum(len(split.held_out) for split in splits)
    accuracies = tuple(float(count) / held_out for count in correct)
    return RegularizationPath(accuracies, converged)


def _held_out_logits(
    features: FloatArray,
    labels: LabelArray,
    split: FoldSplit,
    classes: int,
    strengths: FloatArray,
    tolerance: float,
    max_iterations: int,
) -> tuple[FloatArray, bool]:
    """Return the held-out rows' logits, ``(S, H, K)``, and whether every problem converged."""
    scaling = FeatureScaling.from_features(features[split.fitted])
    rows, held_out = _project_to_span(
        scaling(features[split.fitted]), scaling(features[split.held_out])
    )
    present, class_index = np.unique(labels[split.fitted], return_inverse=True)
    # For two classes `fit_regression` penalises the difference of their weights, which is twice
    # as far from 0 as each of them.
    factor = 2 if len(present) == 2 else 1
    penalties = factor / (strengths * len(rows))
    one_hot = np.eye(len(present))[class_index]
    problems = PenalizedRegressions(_with_bias_column(rows), one_hot, penalties)
    start = np.zeros((len(strengths), len(present), rows.shape[1] + 1))
    # The problems are convex, so that the start from zero does not affect the optimum.
    parameters, has_met = minimize_lbfgs(
        problems, start, tolerance=tolerance, max_iterations=max_iterations
    )
    # A class that no fitted row has is never predicted.
    logits = np.full((len(strengths), len(held_out), classes), ABSENT_CLASS_LOGIT)
    logits[:, :, present] = _with_bias_column(held_out) @ parameters.transpose(0, 2, 1)
    return logits, bool(has_met.all())


def _project_to_span(rows: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return both in coordinates of the span of `rows`, where these are few."""
    if len(rows) >= rows.shape[1]:
        return rows, others
    basis, coordinates = np.linalg.qr(rows.T)
    return coordinates.T, others @ basis


def _with_bias_column(features: FloatArray) -> FloatArray:
    return np.hstack([features, np.ones((len(features), 1))])
