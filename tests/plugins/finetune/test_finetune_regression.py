from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from advtransfer.errors import Inapplicable
from advtransfer_finetune.regression import (
    ABSENT_CLASS_LOGIT,
    FeatureScaling,
    FloatArray,
    LabelArray,
    fit_regression,
)


def problem(classes: int, *, count: int = 120, seed: int = 0) -> tuple[FloatArray, LabelArray]:
    source = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return source.normal(size=(count, 7)) + source.normal(size=(classes, 7))[labels], labels


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_gradient_of_the_objective_vanishes_at_the_solution(classes: int, C: float) -> None:
    features, labels = problem(classes)
    solution = fit_regression(
        features, labels, classes=classes, C=C, max_iterations=10_000, tolerance=1e-8
    )
    residual = (
        softmax(features @ solution.weight.T + solution.bias, axis=1) - np.eye(classes)[labels]
    )
    # For two classes one weight vector is penalised, of which each class has a half.
    penalty = solution.weight * (2 if classes == 2 else 1)

    assert solution.converged
    np.testing.assert_allclose(C * residual.T @ features + penalty, 0, atol=1e-4 * max(C, 1))
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-4)


def test_a_class_without_images_has_a_logit_that_never_wins() -> None:
    features, labels = problem(2)
    solution = fit_regression(
        features, 2 * labels, classes=4, C=1.0, max_iterations=1000, tolerance=1e-6
    )
    without = fit_regression(
        features, labels, classes=2, C=1.0, max_iterations=1000, tolerance=1e-6
    )

    assert [ABSENT_CLASS_LOGIT, ABSENT_CLASS_LOGIT] == solution.bias[[1, 3]].tolist()
    assert not solution.weight[[1, 3]].any()
    assert without.weight.tolist() == solution.weight[[0, 2]].tolist()
    assert without.bias.tolist() == solution.bias[[0, 2]].tolist()
    predicted = (features @ solution.weight.T + solution.bias).argmax(1)
    predicted_without = (features @ without.weight.T + without.bias).argmax(1)
    assert (2 * predicted_without).tolist() == predicted.tolist()


def test_regression_on_one_class_is_inapplicable() -> None:
    features, labels = problem(2)

    with pytest.raises(
        Inapplicable, match="needs two classes to tell apart; all 120 images are of one"
    ):
        fit_regression(features, 0 * labels, classes=2, C=1.0, max_iterations=10, tolerance=1e-6)


def test_stopped_solver_is_reported() -> None:
    features, labels = problem(3)
    stopped = fit_regression(features, labels, classes=3, C=100.0, max_iterations=2, tolerance=1e-8)

    assert (2, False) == (stopped.iterations, stopped.converged)


def test_features_are_standardised_and_constant_ones_only_centred() -> None:
    features = np.array([[1.0, 5.0, 1000.0], [3.0, 5.0, 1000.0001]])
    scaling = FeatureScaling.from_features(features)

    assert [2.0, 5.0, 1000.00005] == scaling.mean.tolist()
    assert [1.0, 1.0, 1.0] == scaling.scale.tolist()
    np.testing.assert_allclose(scaling(features)[:, :2], [[-1, 0], [1, 0]])
    assert [4.0] == FeatureScaling.from_features(np.array([[-4.0], [4.0]])).scale.tolist()
