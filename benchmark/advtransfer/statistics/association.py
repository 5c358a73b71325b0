"""How well one number predicts another over a few points: coefficients, bootstrap intervals, permutation tests.

Every draw comes from `numpy.random.RandomState`, whose streams numpy has frozen, so that a page keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, permutations
from math import factorial
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.statistics.correlation import COEFFICIENTS, Coefficient, correlation, reordered

if TYPE_CHECKING:
    from numpy.random import RandomState

    from advtransfer.statistics.correlation import Places, Values

Resampled: TypeAlias = "Callable[[RandomState, int], tuple[Values, Values]]"
"""Given a stream and a count B: both sides as ``(B, R, S)``, each draw with its own resample of what they average."""

POINTS = 3  # the fewest that a coefficient is computed of: two always lie on a line
RESAMPLED = 4  # the fewest that are resampled
RESAMPLES = 2000
EXACT = 8  # up to so many points every order is tried (8! = 40,320), beyond it ORDERS random ones
ORDERS = 9999
CHUNK = 1000
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Association:
    """One coefficient: its 95 % bootstrap interval, its two-sided permutation p, and the least that p could be.

    A value is None where one side has no spread or there are fewer than `POINTS` points; the interval also where
    there are fewer than `RESAMPLED`.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None
    least: float | None = None


def associations(
    x: Values, y: Values, *, seed: int, resampled: Resampled | None = None
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
    if points < POINTS:
        return {name: Association(None) for name in COEFFICIENTS}
    drawn = _bootstrap(x, y, seed=seed, resampled=resampled) if points >= RESAMPLED else None
    tried = _orders(points, seed=seed)
    return {name: _association(name, x, y, drawn, tried) for name in COEFFICIENTS}


def without_each(x: Values, y: Values) -> tuple[float | None, ...]:
    """Pearson's coefficient without each of more than `POINTS` points, or nothing of fewer."""
    import numpy as np

    points = x.shape[-1]
    if points <= POINTS:
        return ()
    left = [np.delete(np.arange(points), place) for place in range(points)]
    return tuple(_known(_mean("Pearson", x[:, kept], y[:, kept])) for kept in left)


def exact(points: int) -> bool:
    """Whether the permutation test over so many points tries every order."""
    return points <= EXACT


def orders(points: int) -> int:
    """How many orders the permutation test over so many points tries."""
    return factorial(points) if exact(points) else ORDERS


def _association(
    name: Coefficient, x: Values, y: Values, drawn: tuple[Values, Values] | None, tried: Places
) -> Association:
    value = _known(_mean(name, x, y))
    if value is None:
        return Association(None)
    return Association(value, _interval(name, drawn), _p(name, x, y, value, tried), _least(name, x, y))


def _mean(name: Coefficient, x: Values, y: Values) -> Values:
    """The coefficient in each row of ``(..., R, S)``, averaged over the rows."""
    import numpy as np

    return np.asarray(correlation(name, x, y).mean(-1))


def _known(value: Values) -> float | None:
    return None if value != value else float(value)


def _interval(name: Coefficient, drawn: tuple[Values, Values] | None) -> tuple[float, float] | None:
    """The percentile interval; resamples without spread have no coefficient and are left out."""
    import numpy as np

    if drawn is None:
        return None
    found = np.concatenate([_mean(name, *part) for part in _chunks(*drawn)])
    found = found[np.isfinite(found)]
    if 2 * len(found) < RESAMPLES:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _bootstrap(x: Values, y: Values, *, seed: int, resampled: Resampled | None) -> tuple[Values, Values]:
    """Both sides over resampled points (and what they average over), ``(B, R, S)``."""
    import numpy as np

    stream = np.random.RandomState(seed)
    places = stream.randint(0, x.shape[-1], size=(RESAMPLES, 1, x.shape[-1]))
    sides = resampled(stream, RESAMPLES) if resampled else (x[None], y[None])
    several = [np.broadcast_to(side, (RESAMPLES, *side.shape[1:])) for side in sides]
    first, second = (np.take_along_axis(side, np.broadcast_to(places, side.shape), axis=-1) for side in several)
    return first, second


def _p(name: Coefficient, x: Values, y: Values, value: float, tried: Places) -> float:
    """The share of orders of the outcome that give a coefficient as far from 0; a random test counts the one seen."""
    import numpy as np

    parts = [reordered(name, x, y, tried[start : start + CHUNK]).mean(-1) for start in range(0, len(tried), CHUNK)]
    extreme = int((np.abs(np.concatenate(parts)) >= abs(value) - ROUNDING).sum())
    return extreme / len(tried) if exact(x.shape[-1]) else (1 + extreme) / (1 + len(tried))


def _least(name: Coefficient, x: Values, y: Values) -> float:
    """The least that p could be of so many points: the share of the order seen and, of ranks, of its mirror.

    Where both sides differ from row to row, no order turns the ranks of all rows around.
    """
    points = x.shape[-1]
    if not exact(points):
        return 1 / (1 + ORDERS)
    turned = name != "Pearson" and any(bool((side == side[:1]).all()) for side in (x, y))
    return (2 if turned else 1) / orders(points)


def _orders(points: int, *, seed: int) -> Places:
    """Orders of so many points, ``(P, S)``."""
    import numpy as np

    if exact(points):
        every = chain.from_iterable(permutations(range(points)))
        return np.fromiter(every, dtype=np.intp, count=points * factorial(points)).reshape(-1, points)
    stream, drawn = np.random.RandomState(seed), np.tile(np.arange(points, dtype=np.intp), (ORDERS, 1))
    for order in drawn:
        stream.shuffle(order)
    return drawn


def _chunks(x: Values, y: Values) -> Iterator[tuple[Values, Values]]:
    yield from ((x[start : start + CHUNK], y[start : start + CHUNK]) for start in range(0, len(x), CHUNK))
