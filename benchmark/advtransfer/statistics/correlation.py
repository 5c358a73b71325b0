"""Correlation over a few points: coefficients, bootstrap intervals, permutation tests, Holm's correction.

Coefficients are computed along the last axis and are NaN where one side has no spread. Every draw comes from
`numpy.random.RandomState`, whose streams numpy has frozen, so that a page keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, permutations
from math import factorial
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import RandomState
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]
    IndexArray: TypeAlias = NDArray[np.intp]


Coefficient: TypeAlias = Literal["Pearson", "Spearman", "Kendall"]
COEFFICIENTS: tuple[Coefficient, ...] = ("Pearson", "Spearman", "Kendall")
MIN_RELATIVE_SPREAD = 1e-12
"""Smallest spread relative to the largest value; below it, values differ by rounding only."""


def correlation_coefficient(coefficient: Coefficient, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return Pearson's r, Spearman's rho or Kendall's tau-b of ``(..., S)`` and ``(..., S)``, as ``(...,)``."""
    first = _compared_values(coefficient, x)
    second = _compared_values(coefficient, y)
    return _cosines((first * second).sum(-1), first, second)


def reordered_coefficients(
    coefficient: Coefficient, x: FloatArray, y: FloatArray, orders: IndexArray
) -> FloatArray:
    """Return the coefficient of ``(R, S)`` with each order ``(P, S)`` of ``(R, S)``, as ``(P, R)``."""
    import numpy as np

    # Centred values, ranks and signs are computed once and then reordered, not once for each order.
    first = _compared_values(coefficient, x)
    second = _compared_values(coefficient, y)
    points = x.shape[-1]
    indices = orders
    if coefficient == "Kendall":
        # The signs of differences form an S x S matrix: an order permutes its rows and columns alike.
        indices = (orders[:, :, None] * points + orders[:, None, :]).reshape(len(orders), -1)
    products = [
        second_row[indices] @ first_row for first_row, second_row in zip(first, second, strict=True)
    ]
    return _cosines(np.stack(products, axis=-1), first, second)


def _compared_values(coefficient: Coefficient, x: FloatArray) -> FloatArray:
    """Return the vector of one side; each coefficient is the cosine between the vectors of both sides."""
    import numpy as np

    # Without this, rounding errors of constant values would correlate with anything.
    values = np.where(is_flat(x)[..., None], 0.0, x)
    if coefficient == "Kendall":
        return _pairwise_signs(values)
    return _subtract_mean(_mean_ranks(values) if coefficient == "Spearman" else values)


def _cosines(products: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return cosines from inner products ``(...,)`` and vectors ``(..., S)``; NaN for a zero vector."""
    import numpy as np

    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(scale > 0, products / scale, np.nan))


def is_flat(x: FloatArray) -> NDArray[np.bool_]:
    """Return whether all values of ``(..., S)`` are equal up to rounding, as ``(...,)``; NaN is equal to nothing."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        spread = x.max(-1) - x.min(-1)
    # Relative to an infinite value every spread is small.
    return np.asarray(np.isfinite(spread) & (spread <= MIN_RELATIVE_SPREAD * np.abs(x).max(-1)))


def _subtract_mean(x: FloatArray) -> FloatArray:
    import numpy as np

    return np.asarray(x - x.mean(-1, keepdims=True))


def _pairwise_signs(x: FloatArray) -> FloatArray:
    """Return the sign of the difference of each pair of values, as ``(..., S * S)``."""
    import numpy as np

    return np.asarray(np.sign(x[..., :, None] - x[..., None, :])).reshape(*x.shape[:-1], -1)


def _mean_ranks(x: FloatArray) -> FloatArray:
    """Return ranks from 1; ties share their mean rank, and NaN stays NaN."""
    import numpy as np

    smaller = (x[..., None, :] < x[..., :, None]).sum(-1)
    equal = (x[..., None, :] == x[..., :, None]).sum(-1)
    return np.where(np.isnan(x), np.nan, smaller + (equal + 1) / 2)


Resampler: TypeAlias = "Callable[[RandomState, int], tuple[FloatArray, FloatArray]]"
"""Maps a random stream and a count B to both sides ``(B, R, S)``, each with the images resampled."""

MIN_POINTS = 3  # Two points always lie on a line.
# Of five points, 58 % of the bootstrap's resamples hold three different points or fewer: their coefficients are
# close to 1 or -1 for any points.
MIN_POINTS_TO_RESAMPLE = 6
BOOTSTRAP_RESAMPLES = 2000
MAX_EXACT_POINTS = 8  # All orders of up to 8 points are tried (8! = 40,320), random ones of more.
RANDOM_ORDERS = 9999  # With the observed order, p is a multiple of 1 / 10,000.
CHUNK_SIZE = 1000
ROUNDING_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Association:
    """One coefficient with its 95 % bootstrap interval, two-sided permutation p, and smallest possible p.

    Fields are None where a side has no spread or there are fewer than `MIN_POINTS` points; the interval also
    where there are fewer than `MIN_POINTS_TO_RESAMPLE`.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None
    smallest_p: float | None = None


def all_associations(
    x: FloatArray, y: FloatArray, *, seed: int, resampled: Resampler | None = None
) -> dict[Coefficient, Association]:
    """Return Pearson's, Spearman's and Kendall's coefficient of predictor and outcome over S points.

    With R > 1 rows (one per reference model) a coefficient is computed in each row, then averaged. Points are
    resampled and reordered in all rows alike.

    Args:
        x: The predictor, ``(R, S)``.
        y: The outcome, ``(R, S)``.
        seed: The seed of resamples and random orders; below 2 ** 32.
        resampled: Resamples the test images that the values are means over, besides the points.
    """
    points = x.shape[-1]
    if points < MIN_POINTS:
        return {name: Association(None) for name in COEFFICIENTS}
    resamples = None
    if points >= MIN_POINTS_TO_RESAMPLE:
        resamples = _bootstrap_points(x, y, seed=seed, resampled=resampled)
    # All coefficients use the same resamples and orders, so that they can be compared.
    orders = _permutation_orders(points, seed=seed)
    return {name: _estimate_association(name, x, y, resamples, orders) for name in COEFFICIENTS}


@dataclass(frozen=True, slots=True)
class ChanceLevel:
    """How far from 0 a coefficient gets by chance: the mean size, and the size that 95 % of orders stay within."""

    mean: float
    bound: float


def chance_levels(y: FloatArray, *, seed: int) -> dict[Coefficient, ChanceLevel]:
    """Return the chance levels of a predictor that ranks the S points of the outcome ``(R, S)`` at random.

    The ranking has equal steps and is the same in all rows. There is no level for fewer than `MIN_POINTS` points and
    for an outcome without spread.
    """
    import numpy as np

    points = y.shape[-1]
    if points < MIN_POINTS:
        return {}
    ranking = np.tile(np.arange(points, dtype=np.float64), (len(y), 1))
    orders = _permutation_orders(points, seed=seed)
    levels: dict[Coefficient, ChanceLevel] = {}
    for name in COEFFICIENTS:
        sizes = np.abs(_permuted_coefficients(name, ranking, y, orders))
        if np.isfinite(sizes).all():
            bound = np.quantile(sizes, 0.95, method="inverted_cdf")
            levels[name] = ChanceLevel(float(sizes.mean()), float(bound))
    return levels


def least_rank_p(points: int) -> float:
    """Return the smallest p that a rank coefficient of untied points can have: that of an order and its reverse."""
    return 2 / factorial(points) if is_exact_test(points) else 1 / (1 + RANDOM_ORDERS)


def leave_one_out(x: FloatArray, y: FloatArray) -> tuple[float | None, ...]:
    """Return Pearson's coefficient without each point in turn; empty for `MIN_POINTS` points or fewer."""
    import numpy as np

    points = x.shape[-1]
    if points <= MIN_POINTS:
        return ()
    coefficients = []
    for left_out in range(points):
        rest = np.delete(np.arange(points), left_out)
        coefficients.append(_none_if_nan(_mean_coefficient("Pearson", x[:, rest], y[:, rest])))
    return tuple(coefficients)


def is_exact_test(points: int) -> bool:
    """Return whether the permutation test over this number of points tries all orders."""
    return points <= MAX_EXACT_POINTS


def order_count(points: int) -> int:
    """Return the number of orders that the permutation test over this number of points tries."""
    return factorial(points) if is_exact_test(points) else RANDOM_ORDERS


def _estimate_association(
    name: Coefficient,
    x: FloatArray,
    y: FloatArray,
    resamples: tuple[FloatArray, FloatArray] | None,
    orders: IndexArray,
) -> Association:
    value = _none_if_nan(_mean_coefficient(name, x, y))
    if value is None:
        return Association(None)
    return Association(
        value,
        _percentile_interval(name, resamples),
        _permutation_p(name, x, y, value, orders),
        _smallest_p(name, x, y),
    )


def _mean_coefficient(name: Coefficient, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the coefficient in each row of ``(..., R, S)``, averaged over the rows, as ``(...,)``."""
    import numpy as np

    return np.asarray(correlation_coefficient(name, x, y).mean(-1))


def _none_if_nan(value: FloatArray) -> float | None:
    return None if value != value else float(value)  # Only NaN differs from itself.


def _percentile_interval(
    name: Coefficient, resamples: tuple[FloatArray, FloatArray] | None
) -> tuple[float, float] | None:
    """Return the interval of a coefficient over resamples, None without any."""
    import numpy as np

    if resamples is None:
        return None
    chunks = [_mean_coefficient(name, *chunk) for chunk in _resample_chunks(*resamples)]
    return bootstrap_interval(np.concatenate(chunks))


def bootstrap_interval(coefficients: FloatArray) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a coefficient over `BOOTSTRAP_RESAMPLES` resamples.

    None where fewer than half of the resamples have a coefficient.
    """
    import numpy as np

    # A resample of few points may repeat one of them only: it has no spread and no coefficient.
    coefficients = coefficients[np.isfinite(coefficients)]
    if 2 * len(coefficients) < BOOTSTRAP_RESAMPLES:
        return None
    low, high = np.percentile(coefficients, [2.5, 97.5])
    return float(low), float(high)


def _bootstrap_points(
    x: FloatArray, y: FloatArray, *, seed: int, resampled: Resampler | None
) -> tuple[FloatArray, FloatArray]:
    """Return both sides over resampled points, and resampled images where given, as ``(B, R, S)``."""
    import numpy as np

    stream = np.random.RandomState(seed)
    points = x.shape[-1]
    # The points are drawn before the images: the order of draws is part of every page's bytes.
    indices = stream.randint(0, points, size=(BOOTSTRAP_RESAMPLES, 1, points))
    sides = resampled(stream, BOOTSTRAP_RESAMPLES) if resampled else (x[None], y[None])

    def take_points(side: FloatArray) -> FloatArray:
        repeated = np.broadcast_to(side, (BOOTSTRAP_RESAMPLES, *side.shape[1:]))
        return np.take_along_axis(repeated, np.broadcast_to(indices, repeated.shape), axis=-1)

    return take_points(sides[0]), take_points(sides[1])


def _permutation_p(
    name: Coefficient, x: FloatArray, y: FloatArray, value: float, orders: IndexArray
) -> float:
    """Return the share of orders of the outcome with a coefficient at least as far from 0."""
    import numpy as np

    coefficients = _permuted_coefficients(name, x, y, orders)
    # The observed order gives `value` only up to rounding, and must count as extreme.
    is_extreme = np.abs(coefficients) >= abs(value) - ROUNDING_TOLERANCE
    extreme = int(is_extreme.sum())
    if is_exact_test(x.shape[-1]):
        return extreme / len(orders)
    # Random orders need not include the observed one, which is counted here; p is never 0.
    return (1 + extreme) / (1 + len(orders))


def _permuted_coefficients(
    name: Coefficient, x: FloatArray, y: FloatArray, orders: IndexArray
) -> FloatArray:
    """Return the mean coefficient of the rows of ``(R, S)`` for each order of the outcome, ``(P,)``."""
    import numpy as np

    chunks = [
        reordered_coefficients(name, x, y, orders[start : start + CHUNK_SIZE]).mean(-1)
        for start in range(0, len(orders), CHUNK_SIZE)
    ]
    return np.concatenate(chunks)


def _smallest_p(name: Coefficient, x: FloatArray, y: FloatArray) -> float:
    """Return the smallest possible p: the share of the observed order and, for ranks, of the reversed one."""
    points = x.shape[-1]
    if not is_exact_test(points):
        return 1 / (1 + RANDOM_ORDERS)
    # Reversing the ranks negates a rank coefficient. One order does so in all rows only where the rows
    # of one side are equal.
    has_equal_rows = any(bool((side == side[:1]).all()) for side in (x, y))
    is_reversible = name != "Pearson" and has_equal_rows
    return (2 if is_reversible else 1) / order_count(points)


def _permutation_orders(points: int, *, seed: int) -> IndexArray:
    """Return the orders that the permutation test tries, ``(P, S)``."""
    import numpy as np

    if is_exact_test(points):
        flat = chain.from_iterable(permutations(range(points)))
        count = points * factorial(points)
        return np.fromiter(flat, dtype=np.intp, count=count).reshape(-1, points)
    stream = np.random.RandomState(seed)
    orders = np.tile(np.arange(points, dtype=np.intp), (RANDOM_ORDERS, 1))
    for order in orders:
        stream.shuffle(order)
    return orders


def _resample_chunks(x: FloatArray, y: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    for start in range(0, len(x), CHUNK_SIZE):
        yield x[start : start + CHUNK_SIZE], y[start : start + CHUNK_SIZE]


def holm_correction(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number by the step-down rule (Holm, 1979), in the given order.

    None is a hypothesis without a p value: it stays None and counts as a hypothesis.
    """
    ascending = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for step, (p, index) in enumerate(ascending):
        # Corrected values must not decrease, or a larger p could be significant and a smaller one not.
        largest = max(largest, min(1.0, (len(p_values) - step) * p))
        corrected[index] = largest
    return corrected
