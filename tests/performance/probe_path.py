"""Choosing a probe's C by cross-validation: every strength and fold together against one by one.

    python tests/performance/probe_path.py [--quick]

Both go to the same tolerance in float64 on the same folds. One by one is scikit-learn, as `finetune/linear_probe`
solves for a single C.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from advtransfer_finetune.regression import FeatureScaling, FloatArray, LabelArray, fit_regression
from advtransfer_finetune.regularization_path import FoldSplit, fit_path, stratified_folds

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
FOLDS, TOLERANCE, ITERATIONS, REPEATS = 5, 1e-6, 10_000, 5
SIZES = ((50, 512, 5), (100, 512, 10), (400, 64, 10), (400, 512, 10), (1600, 512, 10))
GAP = 0.002
"""The most that the accuracies of a strength may differ: a logit or two within the tolerance of a tie."""


def problem(count: int, features: int, classes: int) -> tuple[FloatArray, LabelArray]:
    """Features as a network gives them: correlated, not negative, of classes that overlap."""
    source = np.random.default_rng(0)
    labels = np.arange(count) % classes
    mixing = (
        source.normal(size=(features, features))
        * np.arange(1, features + 1) ** -0.5
        * 16
        / features**0.5
    )
    centres = source.normal(size=(classes, features))[labels]
    return np.maximum(centres + source.normal(size=(count, features)) @ mixing, 0), labels


def together(
    features: FloatArray, labels: LabelArray, splits: Sequence[FoldSplit], classes: int
) -> FloatArray:
    """The accuracies ``(S,)`` as the probe gets them."""
    found = fit_path(
        features,
        labels,
        splits,
        classes=classes,
        strengths=STRENGTHS,
        tolerance=TOLERANCE,
        max_iterations=ITERATIONS,
    )
    return np.array(found.accuracies)


def one_by_one(
    features: FloatArray, labels: LabelArray, splits: Sequence[FoldSplit], classes: int
) -> FloatArray:
    """The same by a solver for each fold and strength."""
    right = np.zeros(len(STRENGTHS))
    for split in splits:
        scaling, truth = (
            FeatureScaling.from_features(features[split.fitted]),
            labels[split.held_out],
        )
        seen, unseen = scaling(features[split.fitted]), scaling(features[split.held_out])
        for place, C in enumerate(STRENGTHS):
            solved = fit_regression(
                seen,
                labels[split.fitted],
                classes=classes,
                C=C,
                max_iterations=ITERATIONS,
                tolerance=TOLERANCE,
            )
            logits = unseen @ solved.weight.T + solved.bias
            right[place] += np.count_nonzero(logits.argmax(1) == truth)
    accuracies: FloatArray = right / len(labels)
    return accuracies


def seconds(work: Callable[[], FloatArray]) -> tuple[float, FloatArray]:
    """How long one call takes, and what it gives."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def compared(count: int, features: int, classes: int, repeats: int) -> float:
    """Print one size; how many times faster it is together."""
    table, labels = problem(count, features, classes)
    splits = stratified_folds(labels, FOLDS, source=np.random.default_rng(0))
    ours, theirs, gap = [], [], 0.0
    for number in range(repeats + 1):
        quick, accuracies = seconds(lambda: together(table, labels, splits, classes))
        slow, expected = seconds(lambda: one_by_one(table, labels, splits, classes))
        gap = float(np.abs(accuracies - expected).max())
        if number:  # the first is for warming up
            ours.append(quick)
            theirs.append(slow)
    quick, slow = statistics.median(ours), statistics.median(theirs)
    told = f"n {count}, {features} features, {classes} classes: together {quick:.2f} s, one by one {slow:.2f} s"
    sys.stdout.write(f"{told}, ratio {slow / quick:.1f}; accuracies within {gap:.4f}\n")
    sys.stdout.flush()
    if gap > GAP:
        raise SystemExit(f"the accuracies differ by {gap:.4f}; expected at most {GAP}")
    return slow / quick


def main() -> None:
    """Print every size; fail where one by one is faster."""
    sizes, repeats = (SIZES[:2], 1) if "--quick" in sys.argv else (SIZES, REPEATS)
    sys.stdout.write(
        f"{len(STRENGTHS)} strengths, {FOLDS} folds, one thread, median of {repeats}, alternating\n"
    )
    with threadpool_limits(1):
        ratios = [compared(*size, repeats) for size in sizes]
    if min(ratios) < 1:
        raise SystemExit("one by one was faster")


if __name__ == "__main__":
    main()
