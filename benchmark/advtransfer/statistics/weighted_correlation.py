"""Correlation of many points with weights, such as how often a resample of the bootstrap holds each.

`correlation` compares all pairs of a few points; here memory and time grow with the number of points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advtransfer.statistics.correlation import is_flat

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray, IndexArray


def weighted_pearson(x: FloatArray, y: FloatArray, weights: FloatArray) -> float:
    """Return Pearson's coefficient of ``(S,)`` and ``(S,)``, each point `weights` ``(S,)`` times.

    NaN where one side has no spread.
    """
    import numpy as np

    held = weights > 0
    if is_flat(x[held]) or is_flat(y[held]):
        return float("nan")
    total = weights.sum()
    first = x - weights @ x / total
    second = y - weights @ y / total
    scale = np.sqrt((weights @ (first * first)) * (weights @ (second * second)))
    return float(weights @ (first * second) / scale) if scale > 0 else float("nan")


def dense_ranks(values: FloatArray) -> IndexArray:
    """Return the rank from 0 of each value ``(S,)`` among the distinct values, for `weighted_spearman`.

    All ranks are 0 where values are equal up to rounding.
    """
    import numpy as np

    if len(values) and is_flat(values):
        return np.zeros(len(values), dtype=np.intp)
    _, ranks = np.unique(values, return_inverse=True)
    return np.asarray(ranks)


def weighted_spearman(x: IndexArray, y: IndexArray, weights: FloatArray) -> float:
    """Return Spearman's coefficient of two sides by their `dense_ranks`, each point `weights` ``(S,)`` times.

    Ties share their mean rank. NaN where one side has no spread.
    """
    return weighted_pearson(_mean_ranks(x, weights), _mean_ranks(y, weights), weights)


def _mean_ranks(ranks: IndexArray, weights: FloatArray) -> FloatArray:
    """Return the mean rank from 1 that each point has among `weights` copies of all points."""
    import numpy as np

    copies = np.bincount(ranks, weights=weights)
    mean_ranks = np.cumsum(copies) - (copies - 1) / 2
    return np.asarray(mean_ranks[ranks])
