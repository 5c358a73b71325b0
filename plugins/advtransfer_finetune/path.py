"""Which strength of the penalty does best on images that were not fitted: every strength and split, solved together.

The problems of a split share what is dear. Its features are brought to the directions that its training rows span: the
penalty keeps all weights there, so that no solution changes and few images make small problems. The strengths are then
columns of one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advtransfer.errors import Inapplicable
from advtransfer_finetune.descent import Problems, minimise
from advtransfer_finetune.regression import ABSENT, Array, Labels, Scaling


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to fit and rows to measure on, by their positions."""

    fitted: Labels
    held_out: Labels


@dataclass(frozen=True, slots=True)
class Path:
    """For each strength the share of held-out rows that were right, and whether every problem met the tolerance."""

    accuracies: tuple[float, ...]
    converged: bool

    @property
    def best(self) -> int:
        """The place of the best strength, of equal ones the first."""
        return max(range(len(self.accuracies)), key=self.accuracies.__getitem__)


def folds(labels: Labels, count: int, *, source: np.random.Generator) -> list[Split]:
    """Splits that hold out each row once, and of every class as many rows as of the others, or one more.

    Raises:
        Inapplicable: There are more folds than rows, or without a fold one class is left.
    """
    if count > len(labels):
        raise Inapplicable(f"cross-validation over {count} folds needs as many images; there are {len(labels)}")
    order = source.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % count
    splits = [Split(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(count)]
    if any(len(np.unique(labels[split.fitted])) < 2 for split in splits):
        raise Inapplicable(f"without one of its {count} folds, the training part has one class only; take fewer folds")
    return splits


def path(
    features: Array,
    labels: Labels,
    splits: Sequence[Split],
    *,
    classes: int,
    strengths: Sequence[float],
    tolerance: float,
    max_iterations: int,
) -> Path:
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
        logits, met = _solved(features, labels, split, classes, np.array(strengths), tolerance, max_iterations)
        right += (logits.argmax(2) == labels[split.held_out]).sum(1)
        converged &= met
    held_out = sum(len(split.held_out) for split in splits)
    return Path(tuple(float(count) / held_out for count in right), converged)


def _solved(
    features: Array, labels: Labels, split: Split, classes: int, strengths: Array, tolerance: float, most: int
) -> tuple[Array, bool]:
    """The logits of the held-out rows, ``(S, H, K)``, and whether all problems met the tolerance."""
    scaling = Scaling.of(features[split.fitted])
    rows, held_out = _reduced(scaling(features[split.fitted]), scaling(features[split.held_out]))
    present, place = np.unique(labels[split.fitted], return_inverse=True)
    # of two classes `regress` penalises the difference of their weights, which is twice as far from 0 as each of them
    penalties = (2 if len(present) == 2 else 1) / (strengths * len(rows))
    problems = Problems(_with_one(rows), np.eye(len(present))[place], penalties)
    start = np.zeros((len(strengths), len(present), rows.shape[1] + 1))
    parameters, met = minimise(problems, start, tolerance=tolerance, most=most)
    logits = np.full((len(strengths), len(held_out), classes), ABSENT)
    logits[:, :, present] = _with_one(held_out) @ parameters.transpose(0, 2, 1)
    return logits, bool(met.all())


def _reduced(rows: Array, others: Array) -> tuple[Array, Array]:
    """Both in coordinates of the span of `rows`, where these are fewer than their features."""
    if len(rows) >= rows.shape[1]:
        return rows, others
    axes, triangle = np.linalg.qr(rows.T)
    return triangle.T, others @ axes


def _with_one(features: Array) -> Array:
    return np.hstack([features, np.ones((len(features), 1))])
