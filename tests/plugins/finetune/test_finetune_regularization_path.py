from __future__ import annotations

import numpy as np
import pytest

from advtransfer.errors import Inapplicable
from advtransfer_finetune.regression import FeatureScaling, FloatArray, LabelArray, fit_regression
from advtransfer_finetune.regularization_path import (
    FoldSplit,
    PenalizedRegressions,
    RegularizationPath,
    _held_out_logits,
    fit_path,
    minimize_lbfgs,
    stratified_folds,
)

STRENGTHS = (1e-3, 0.1, 1.0, 10.0)


def problem(classes: int, *, count: int, features: int = 12) -> tuple[FloatArray, LabelArray]:
    source = np.random.default_rng(0)
    labels = np.arange(count) % classes
    return 1.5 * source.normal(size=(count, features)) + source.normal(size=(classes, features))[
        labels
    ], labels


def splits(labels: LabelArray, count: int = 4) -> list[FoldSplit]:
    return stratified_folds(labels, count, source=np.random.default_rng(1))


# fewer rows than features and more; two classes, which scikit-learn penalises otherwise, and several
@pytest.mark.parametrize(("count", "features"), [(24, 40), (120, 12)])
@pytest.mark.parametrize("classes", [2, 3])
def test_batched_path_gives_the_logits_of_single_fits(
    classes: int, count: int, features: int
) -> None:
    table, labels = problem(classes, count=count, features=features)
    for split in splits(labels):
        logits, met = _held_out_logits(
            table, labels, split, classes, np.array(STRENGTHS), 1e-9, 10_000
        )
        scaling = FeatureScaling.from_features(table[split.fitted])
        seen, unseen = scaling(table[split.fitted]), scaling(table[split.held_out])
        for C, scores in zip(STRENGTHS, logits, strict=True):
            alone = fit_regression(
                seen,
                labels[split.fitted],
                classes=classes,
                C=C,
                max_iterations=10_000,
                tolerance=1e-9,
            )
            expected = unseen @ alone.weight.T + alone.bias
            # A bias added to all classes changes no probability.
            gap = (scores - scores.mean(1, keepdims=True)) - (
                expected - expected.mean(1, keepdims=True)
            )
            assert np.abs(gap).max() < 1e-4
        assert met


def test_path_accuracies_equal_those_of_single_fits() -> None:
    table, labels = problem(3, count=90)
    correct = np.zeros(len(STRENGTHS))
    for split in splits(labels):
        scaling = FeatureScaling.from_features(table[split.fitted])
        for index, C in enumerate(STRENGTHS):
            fitted, truth = scaling(table[split.fitted]), labels[split.fitted]
            alone = fit_regression(
                fitted, truth, classes=3, C=C, max_iterations=10_000, tolerance=1e-6
            )
            logits = scaling(table[split.held_out]) @ alone.weight.T + alone.bias
            correct[index] += np.count_nonzero(logits.argmax(1) == labels[split.held_out])
    path = fit_path(
        table,
        labels,
        splits(labels),
        classes=3,
        strengths=STRENGTHS,
        tolerance=1e-6,
        max_iterations=10_000,
    )

    assert tuple(correct / 90) == pytest.approx(path.accuracies)
    assert path.converged
    assert 1 < len(set(path.accuracies))


def test_class_missing_from_a_fold_is_never_predicted() -> None:
    table, labels = problem(2, count=40)
    labels[0] = 2
    split = FoldSplit(np.arange(1, 40), np.array([0]))
    path = fit_path(
        table, labels, [split], classes=3, strengths=(1.0,), tolerance=1e-6, max_iterations=1000
    )

    assert (0.0,) == path.accuracies


def test_first_of_equally_good_strengths_is_best() -> None:
    assert 1 == RegularizationPath((0.5, 0.75, 0.75, 0.25), True).best_index


def test_finished_problems_keep_their_solution() -> None:
    table, labels = problem(3, count=60)
    features = np.hstack([table, np.ones((60, 1))])
    penalties = np.array([10.0, 1e-4])
    problems, start = (
        PenalizedRegressions(features, np.eye(3)[labels], penalties),
        np.zeros((2, 3, 13)),
    )
    together, met = minimize_lbfgs(problems, start, tolerance=1e-8, max_iterations=1000)
    values, gradients = problems(together)
    singles = [problems.select_problems(np.arange(2) == place) for place in (0, 1)]
    alone = [
        minimize_lbfgs(single, start[:1], tolerance=1e-8, max_iterations=1000)[0]
        for single in singles
    ]

    assert met.all()
    assert np.abs(gradients).max() <= 1e-8 + 1e-12
    # Only the strong penalty bounds the parameters. With the weak one, rounding decides where the
    # tolerance is met.
    np.testing.assert_allclose(alone[0][0], together[0], atol=1e-8)
    np.testing.assert_allclose(
        [single(solution)[0].item() for single, solution in zip(singles, alone, strict=True)],
        values,
        atol=1e-11,
    )


@pytest.mark.parametrize(("tolerance", "most"), [(1e-6, 3), (0.0, 300)])
def test_unconverged_path_is_reported(tolerance: float, most: int) -> None:
    table, labels = problem(3, count=60)
    problems = PenalizedRegressions(
        np.hstack([table, np.ones((60, 1))]), np.eye(3)[labels], np.array([1e-3])
    )
    parameters, met = minimize_lbfgs(
        problems, np.zeros((1, 3, 13)), tolerance=tolerance, max_iterations=most
    )

    assert [False] == met.tolist()
    assert np.isfinite(parameters).all()


def test_each_row_is_held_out_once_and_every_class_is_spread_over_the_folds() -> None:
    labels = np.array([0] * 10 + [1] * 7 + [2] * 3)
    folds = splits(labels, 4)

    assert [*range(20)] == sorted(np.concatenate([split.held_out for split in folds]).tolist())
    assert [5, 5, 5, 5] == [len(split.held_out) for split in folds]
    for split in folds:
        assert set(range(20)) - set(split.held_out.tolist()) == set(split.fitted.tolist())
        counts = np.bincount(labels[split.held_out], minlength=3)
        assert (counts >= [2, 1, 0]).all()
        assert (counts <= [3, 2, 1]).all()


def test_folds_are_random() -> None:
    labels = np.arange(40) % 2
    folds_by_seed = [
        stratified_folds(labels, 4, source=np.random.default_rng(seed))[0].held_out.tolist()
        for seed in (0, 0, 1)
    ]

    assert folds_by_seed[0] == folds_by_seed[1]
    assert folds_by_seed[0] != folds_by_seed[2]


def test_too_few_rows_for_the_folds_are_inapplicable() -> None:
    with pytest.raises(Inapplicable, match="over 5 folds needs as many images; there are 3"):
        splits(np.array([0, 1, 2]), 5)
    with pytest.raises(Inapplicable, match="one class only; take fewer folds"):
        splits(np.array([0, 0, 0, 1]), 4)
