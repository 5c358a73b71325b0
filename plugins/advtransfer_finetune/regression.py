"""Multinomial logistic regression on standardised features, solved by scikit-learn in float64."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from advtransfer.errors import Inapplicable

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]

ABSENT = -1e4
"""The logit of a class that no training image has: finite, and far below the largest of the others."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The features' means and standard deviations ``(D,)``."""

    mean: Array
    scale: Array

    @classmethod
    def of(cls, features: Array) -> Scaling:
        """Those of ``(N, D)``; a feature that varies no more than float32 rounding keeps the scale 1."""
        mean, deviation = features.mean(0), features.std(0)
        constant = deviation <= 10 * np.finfo(np.float32).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, deviation))

    def __call__(self, features: Array) -> Array:
        """``(N, D)`` standardised."""
        scaled: Array = (features - self.mean) / self.scale
        return scaled


@dataclass(frozen=True, slots=True)
class Regression:
    """Logits ``features @ weight.T + bias``: ``(K, D)`` and ``(K,)``, and how the solver ended."""

    weight: Array
    bias: Array
    iterations: int
    converged: bool

    def accuracy(self, features: Array, labels: Labels) -> float:
        """The share of rows whose largest logit is that of their class."""
        return float(np.mean((features @ self.weight.T + self.bias).argmax(1) == labels))


def regress(
    features: Array, labels: Labels, *, classes: int, C: float, max_iterations: int, tolerance: float
) -> Regression:
    """The minimum of C times the summed cross-entropy plus half the squared weights; biases are not penalised.

    Args:
        features: Standardised, ``(N, D)``.
        labels: ``(N,)``, from 0 to `classes` - 1; a class without any has no weights and the logit `ABSENT`.
        classes: K.
        C: Inverse strength of the penalty.
        max_iterations: The most steps of L-BFGS.
        tolerance: The largest entry of the gradient at the end.

    Raises:
        Inapplicable: All labels are of one class.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise Inapplicable(f"a linear probe needs two classes to tell apart; all {len(labels)} images are of one")
    solver = LogisticRegression(C=C, max_iter=max_iterations, tol=tolerance)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater than", UserWarning)  # few labels
        solver.fit(features, labels)
    converged = True
    for one in caught:
        if issubclass(one.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    weight, bias = np.zeros((classes, features.shape[1])), np.full(classes, ABSENT)
    weight[present], bias[present] = _symmetric(solver.coef_), _symmetric(solver.intercept_)
    return Regression(weight, bias, int(solver.n_iter_.max()), converged)


def _symmetric(solution: Array) -> Array:
    """One row a class; of two classes scikit-learn gives the difference only."""
    return np.concatenate([-solution / 2, solution / 2]) if len(solution) == 1 else solution
