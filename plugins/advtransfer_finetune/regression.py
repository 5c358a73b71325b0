"""Multinomial logistic regression on standardized features, solved by scikit-learn in float64."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from advtransfer.errors import Inapplicable

FloatArray: TypeAlias = NDArray[np.float64]
LabelArray: TypeAlias = NDArray[np.int64]

ABSENT_CLASS_LOGIT = -1e4
"""Logit of a class without training images: finite, and far below the largest other logit."""


@dataclass(frozen=True, slots=True)
class FeatureScaling:
    """Means and standard deviations ``(D,)`` of features."""

    mean: FloatArray
    scale: FloatArray

    @classmethod
    def from_features(cls, features: FloatArray) -> FeatureScaling:
        """Return the scaling of features ``(N, D)``.

        A feature that varies no more than float32 rounding keeps the scale 1.
        """
        mean = features.mean(0)
        deviation = features.std(0)
        # Dividing by a deviation of rounding errors would turn them into a feature.
        constant = deviation <= 10 * np.finfo(np.float32).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, deviation))

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return the standardized features, ``(N, D)``."""
        scaled: FloatArray = (features - self.mean) / self.scale
        return scaled


@dataclass(frozen=True, slots=True)
class RegressionSolution:
    """Logits ``features @ weight.T + bias``, ``(K, D)`` and ``(K,)``, and the end of the solver."""

    weight: FloatArray
    bias: FloatArray
    iterations: int
    converged: bool


def fit_regression(
    features: FloatArray,
    labels: LabelArray,
    *,
    classes: int,
    C: float,
    max_iterations: int,
    tolerance: float,
) -> RegressionSolution:
    """Minimise C times the summed cross-entropy plus half the squared weights, without biases.

    Args:
        features: Standardized, ``(N, D)``.
        labels: ``(N,)``, from 0 to `classes` - 1. A class without samples gets no weights and the
            logit `ABSENT_CLASS_LOGIT`.
        classes: K.
        C: Inverse strength of the penalty.
        max_iterations: Largest number of L-BFGS steps.
        tolerance: Largest entry of the gradient at the end.

    Raises:
        Inapplicable: All labels are of one class.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise Inapplicable(
            f"a linear probe needs two classes to tell apart; all {len(labels)} images are of one"
        )
    solver = LogisticRegression(C=C, max_iter=max_iterations, tol=tolerance)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        # scikit-learn warns about many classes for few samples, which a small subset may have.
        warnings.filterwarnings(
            "ignore", "The number of unique classes is greater than", UserWarning
        )
        solver.fit(features, labels)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    weight = np.zeros((classes, features.shape[1]))
    bias = np.full(classes, ABSENT_CLASS_LOGIT)
    weight[present] = _one_row_per_class(solver.coef_)
    bias[present] = _one_row_per_class(solver.intercept_)
    return RegressionSolution(weight, bias, int(solver.n_iter_.max()), converged)


def _one_row_per_class(solution: FloatArray) -> FloatArray:
    """Return one row per class; for two classes scikit-learn gives only the difference."""
    if len(solution) > 1:
        return solution
    return np.concatenate([-solution / 2, solution / 2])
