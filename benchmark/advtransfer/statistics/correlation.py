"""Correlation over a few points.

Coefficients, bootstrap intervals, permutation tests, and Holm's correction.

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
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]
    IndexArray: TypeAlias = NDArray[np.intp]
    from numpy.random import RandomState


Coefficient: TypeAlias = Literal["Pearson", "Spearman", "Kendall"]
COEFFICIENTS: tuple[Coefficient, ...] = ("Pearson", "Spearman", "Kendall")
MIN_RELATIVE_SPREAD = 1e-12
"""A side whose spread is smaller than this share of its size is constant but for rounding."""


def correlation_coefficient(coefficient: Coefficient, x: FloatArray, y: FloatArray) -> FloatArray:
    """Pearson's r, Spearman's rho or Kendall's tau-b of ``(..., S)`` with ``(..., S)``, as ``(...,)``."""
    first, second = _compared_values(coefficient, x), _compared_values(coefficient, y)
    return _cosines((first * second).sum(-1), first, second)


def reordered_coefficients(
    coefficient: Coefficient, x: FloatArray, y: FloatArray, orders: IndexArray
) -> FloatArray:
    """The coefficient of ``(R, S)`` with each order ``(P, S)`` of ``(R, S)``, as ``(P, R)``.

    What a coefficient sees of a side is found once, then put into each order: values without their mean, ranks, the
    signs of differences.
    """
    import numpy as np

    first, second = _compared_values(coefficient, x), _compared_values(coefficient, y)
    points = x.shape[-1]
    places = orders
    if coefficient == "Kendall":  # what is reordered is a matrix, in rows and columns alike
        places = (orders[:, :, None] * points + orders[:, None, :]).reshape(len(orders), -1)
    products = np.stack(
        [other[places] @ one for one, other in zip(first, second, strict=True)], axis=-1
    )
    return _cosines(products, first, second)


def _compared_values(coefficient: Coefficient, x: FloatArray) -> FloatArray:
    """What a coefficient compares of one side; the coefficient is the cosine between two of them."""
    if coefficient == "Kendall":
        return _pairwise_signs(x)
    return _subtract_mean(_mean_ranks(x)) if coefficient == "Spearman" else _subtract_mean(x)


def _cosines(products: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Products as shares of the most that they could be."""
    import numpy as np

    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(scale > 0, products / scale, np.nan))


def _subtract_mean(x: FloatArray) -> FloatArray:
    """What is left without the mean; exactly 0 where all values are one but for rounding."""
    import numpy as np

    spread = x.max(-1, keepdims=True) - x.min(-1, keepdims=True)
    flat = spread <= MIN_RELATIVE_SPREAD * np.abs(x).max(-1, keepdims=True)
    return np.asarray(np.where(flat, 0.0, x - x.mean(-1, keepdims=True)))


def _pairwise_signs(x: FloatArray) -> FloatArray:
    """The sign of the difference of each pair of values, as ``(..., S * S)``."""
    import numpy as np

    return np.asarray(np.sign(x[..., :, None] - x[..., None, :])).reshape(*x.shape[:-1], -1)


def _mean_ranks(x: FloatArray) -> FloatArray:
    """Ranks from 1; equal values share the mean of theirs, and what is no number has none."""
    import numpy as np

    below = (x[..., None, :] < x[..., :, None]).sum(-1)
    level = (x[..., None, :] == x[..., :, None]).sum(-1)
    return np.where(np.isnan(x), np.nan, below + (level + 1) / 2)


Resampler: TypeAlias = "Callable[[RandomState, int], tuple[FloatArray, FloatArray]]"
"""Given a stream and a count B: both sides as ``(B, R, S)``, each draw with its own resample of what they average."""

MIN_POINTS = 3  # the fewest that a coefficient is computed of: two always lie on a line
MIN_POINTS_TO_RESAMPLE = 4  # the fewest that are resampled
BOOTSTRAP_RESAMPLES = 2000
MAX_EXACT_POINTS = (
    8  # up to so many points every order is tried (8! = 40,320), beyond it ORDERS random ones
)
RANDOM_ORDERS = 9999
CHUNK_SIZE = 1000
ROUNDING_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Association:
    """One coefficient: its 95 % bootstrap interval, its two-sided permutation p, and the least that p could be.

    A value is None where one side has no spread or there are fewer than `MIN_POINTS` points; the interval also where
    there are fewer than `MIN_POINTS_TO_RESAMPLE`.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None
    smallest_p: float | None = None


def all_associations(
    x: FloatArray, y: FloatArray, *, seed: int, resampled: Resampler | None = None
) -> dict[Coefficient, Association]:
    """Pearson's, Spearman's and Kendall's coefficient of predictor and outcome over S points.

    With R > 1 rows (one a reference model) a coefficient is computed within each row, then averaged; points are
    resampled and reordered in all rows alike.

    Args:
        x: The predictor, ``(R, S)``.
        y: The outcome, ``(R, S)``.
        seed: Of the resamples and of random orders; below 2 ** 32.
        resampled: Resamples what the values themselves are means over (test images), beside the points.
    """
    points = x.shape[-1]
    if points < MIN_POINTS:
        return {name: Association(None) for name in COEFFICIENTS}
    drawn = (
        _bootstrap_points(x, y, seed=seed, resampled=resampled)
        if points >= MIN_POINTS_TO_RESAMPLE
        else None
    )
    tried = _permutation_orders(points, seed=seed)
    return {name: _estimate_association(name, x, y, drawn, tried) for name in COEFFICIENTS}


def leave_one_out(x: FloatArray, y: FloatArray) -> tuple[float | None, ...]:
    """Pearson's coefficient without each of more than `MIN_POINTS` points, or nothing of fewer."""
    import numpy as np

    points = x.shape[-1]
    if points <= MIN_POINTS:
        return ()
    left = [np.delete(np.arange(points), place) for place in range(points)]
    return tuple(
        _none_if_nan(_mean_coefficient("Pearson", x[:, kept], y[:, kept])) for kept in left
    )


def is_exact_test(points: int) -> bool:
    """Whether the permutation test over so many points tries every order."""
    return points <= MAX_EXACT_POINTS


def order_count(points: int) -> int:
    """How many orders the permutation test over so many points tries."""
    return factorial(points) if is_exact_test(points) else RANDOM_ORDERS


def _estimate_association(
    name: Coefficient,
    x: FloatArray,
    y: FloatArray,
    drawn: tuple[FloatArray, FloatArray] | None,
    tried: IndexArray,
) -> Association:
    value = _none_if_nan(_mean_coefficient(name, x, y))
    if value is None:
        return Association(None)
    return Association(
        value,
        _percentile_interval(name, drawn),
        _permutation_p(name, x, y, value, tried),
        _smallest_p(name, x, y),
    )


def _mean_coefficient(name: Coefficient, x: FloatArray, y: FloatArray) -> FloatArray:
    """The coefficient in each row of ``(..., R, S)``, averaged over the rows."""
    import numpy as np

    return np.asarray(correlation_coefficient(name, x, y).mean(-1))


def _none_if_nan(value: FloatArray) -> float | None:
    return None if value != value else float(value)


def _percentile_interval(
    name: Coefficient, drawn: tuple[FloatArray, FloatArray] | None
) -> tuple[float, float] | None:
    """The percentile interval; resamples without spread have no coefficient and are left out."""
    import numpy as np

    if drawn is None:
        return None
    found = np.concatenate([_mean_coefficient(name, *part) for part in _resample_chunks(*drawn)])
    found = found[np.isfinite(found)]
    if 2 * len(found) < BOOTSTRAP_RESAMPLES:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _bootstrap_points(
    x: FloatArray, y: FloatArray, *, seed: int, resampled: Resampler | None
) -> tuple[FloatArray, FloatArray]:
    """Both sides over resampled points (and what they average over), ``(B, R, S)``."""
    import numpy as np

    stream = np.random.RandomState(seed)
    places = stream.randint(0, x.shape[-1], size=(BOOTSTRAP_RESAMPLES, 1, x.shape[-1]))
    sides = resampled(stream, BOOTSTRAP_RESAMPLES) if resampled else (x[None], y[None])
    several = [np.broadcast_to(side, (BOOTSTRAP_RESAMPLES, *side.shape[1:])) for side in sides]
    first, second = (
        np.take_along_axis(side, np.broadcast_to(places, side.shape), axis=-1) for side in several
    )
    return first, second


def _permutation_p(
    name: Coefficient, x: FloatArray, y: FloatArray, value: float, tried: IndexArray
) -> float:
    """The share of orders of the outcome that give a coefficient as far from 0; a random test counts the one seen."""
    import numpy as np

    parts = [
        reordered_coefficients(name, x, y, tried[start : start + CHUNK_SIZE]).mean(-1)
        for start in range(0, len(tried), CHUNK_SIZE)
    ]
    extreme = int((np.abs(np.concatenate(parts)) >= abs(value) - ROUNDING_TOLERANCE).sum())
    return extreme / len(tried) if is_exact_test(x.shape[-1]) else (1 + extreme) / (1 + len(tried))


def _smallest_p(name: Coefficient, x: FloatArray, y: FloatArray) -> float:
    """The least that p could be of so many points: the share of the order seen and, of ranks, of its mirror.

    Where both sides differ from row to row, no order turns the ranks of all rows around.
    """
    points = x.shape[-1]
    if not is_exact_test(points):
        return 1 / (1 + RANDOM_ORDERS)
    turned = name != "Pearson" and any(bool((side == side[:1]).all()) for side in (x, y))
    return (2 if turned else 1) / order_count(points)


def _permutation_orders(points: int, *, seed: int) -> IndexArray:
    """Orders of so many points, ``(P, S)``."""
    import numpy as np

    if is_exact_test(points):
        every = chain.from_iterable(permutations(range(points)))
        return np.fromiter(every, dtype=np.intp, count=points * factorial(points)).reshape(
            -1, points
        )
    stream, drawn = (
        np.random.RandomState(seed),
        np.tile(np.arange(points, dtype=np.intp), (RANDOM_ORDERS, 1)),
    )
    for order in drawn:
        stream.shuffle(order)
    return drawn


def _resample_chunks(x: FloatArray, y: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    yield from (
        (x[start : start + CHUNK_SIZE], y[start : start + CHUNK_SIZE])
        for start in range(0, len(x), CHUNK_SIZE)
    )


def holm_correction(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values held to the number of them by the step-down rule (Holm, 1979), in the order given.

    A None is a question that was asked and has no answer: it stays None, and is counted.
    """
    places = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, place) in enumerate(places):
        highest = max(highest, min(1.0, (len(p_values) - step) * p))
        corrected[place] = highest
    return corrected
