"""P values of the differences of all pairs of rows at once: of a t-test, or at which an interval touches 0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.statistics.pairwise import PairDifferences
from advtransfer.statistics.share_intervals import (
    PRIOR_EVENTS,
    BoardDifference,
    board_difference,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]


SMALLEST_P_VALUE = 1e-12
"""Smaller ones are all this: no table has as many pairs as would make it large."""
STEPS = 100
ROOT_TOLERANCE = 1e-10
QUANTILE_NODES = 2048


def difference_p_value(board: FloatArray, *, unreplicated: bool = False) -> float:
    """Return the p value of a difference of 0: 1 - the confidence at which `difference_interval` touches 0."""
    return board_p_values([board_difference(board, unreplicated=unreplicated)])[0]


def board_p_values(boards: Sequence[BoardDifference]) -> list[float]:
    """Return `difference_p_value` of each of some boards, those of equal counts at once."""
    p_values = [1.0] * len(boards)
    by_design: dict[tuple[int, int, int, bool], list[int]] = defaultdict(list)
    for place, board in enumerate(boards):
        each = board.variances
        counts = (each.unit_count, each.seed_count, each.image_count)
        by_design[(*counts, board.unreplicated)].append(place)
    for design, places in by_design.items():
        pairs = _joined_boards([boards[place] for place in places], design)
        for place, p_value in zip(places, difference_p_values(pairs).tolist(), strict=True):
            p_values[place] = p_value
    return p_values


def _joined_boards(
    boards: Sequence[BoardDifference], design: tuple[int, int, int, bool]
) -> PairDifferences:
    import numpy as np

    variances = [board.variances for board in boards]
    return PairDifferences(
        np.array([each.mean for each in variances]),
        np.array([board.changed for board in boards]),
        np.array([each.units for each in variances]),
        np.array([each.seeds for each in variances]),
        np.array([each.images for each in variances]),
        np.array([each.residual for each in variances]),
        *design,
    )


def difference_p_values(pairs: PairDifferences, *, ceiling: float = 1.0) -> FloatArray:
    """Return the p value of a difference of 0 of each pair.

    With images it is 1 - the confidence at which `difference_interval` touches 0; without, that of a t-test over
    the units, NaN for one unit or units that all have the same difference.

    Args:
        pairs: Pairs in any shape.
        ceiling: Some p values of at least this one may be returned as 1, which saves their time.
    """
    import numpy as np

    if not pairs.image_count:
        return _t_test_p_values(pairs)
    p_values = np.ones(pairs.mean.shape)
    z = -_normal_quantile(ceiling / 2)
    end = np.zeros(pairs.mean.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        images_alone = _tango_score(end, pairs)
        between = _replicate_parts(pairs, np.full(end.shape, z))
    active = (pairs.mean != 0) & (images_alone > z) & (between < pairs.mean**2)
    if active.any():
        p_values[active] = _touching_p_values(pairs.at(active))
    return p_values


def _t_test_p_values(pairs: PairDifferences) -> FloatArray:
    import numpy as np
    from scipy.special import stdtr

    p_values = np.full(pairs.mean.shape, np.nan)
    if pairs.unit_count > 1:
        spread = pairs.units > 0
        units = pairs.units[spread] * (1 + pairs.unit_count if pairs.unreplicated else 1)
        statistics = np.abs(pairs.mean[spread]) / np.sqrt(units)
        p_values[spread] = 2 * stdtr(pairs.unit_count - 1, -statistics)
    return p_values


def _touching_p_values(pairs: PairDifferences) -> FloatArray:
    """Return the p values at which the intervals touch 0, for pairs in one dimension.

    The unknown is Tango's end L of the images: its z is explicit, and with it the confidence and all that the
    interval adds. So h^2(L) = mean^2 is one equation in L from 0 to the mean, in which h^2 falls. It is solved by the
    Illinois rule, with a bisection in every third step.
    """
    import numpy as np

    mean = np.abs(pairs.mean)
    low, high = np.zeros_like(mean), mean.copy()
    low_value, high_value = _excess(low, pairs), np.full(mean.shape, -1.0)
    roots = np.where(low_value <= 0, low, np.nan)
    for step in range(STEPS):
        (active,) = np.nonzero(np.isnan(roots))
        if not active.size:
            break
        a, b = low[active], high[active]
        value_a, value_b = low_value[active], high_value[active]
        is_bisection = step % 3 == 2
        point = (a + b) / 2 if is_bisection else b - value_b * (b - a) / (value_b - value_a)
        value = _excess(point, pairs.at(active))
        above = value > 0
        low[active], high[active] = np.where(above, point, a), np.where(above, b, point)
        # The end that stays counts half, or it would stay for ever (Dowell and Jarratt, 1971).
        kept = 1.0 if is_bisection else 0.5
        low_value[active] = np.where(above, value, kept * value_a)
        high_value[active] = np.where(above, kept * value_b, value)
        done = (np.abs(value) < ROOT_TOLERANCE) | (b - a <= 1e-15 * b)
        roots[active] = np.where(done | (step == STEPS - 1), point, np.nan)
    return np.maximum(2 * _normal_tail(_bounded_score(roots, pairs)), SMALLEST_P_VALUE)


def _excess(end: FloatArray, pairs: PairDifferences) -> FloatArray:
    """Return ``(h^2 - mean^2) / (h^2 + mean^2)`` for the images' end, from -1 to 1."""
    import numpy as np

    mean = np.abs(pairs.mean)
    z = _bounded_score(end, pairs)
    square = _replicate_parts(pairs, z) + (mean - end) ** 2
    # Images alone: the interval touches 0 with the images' end, in which both are equal but for rounding.
    total = square - mean**2
    total[(end == 0) & (square <= mean**2)] = 0.0
    return np.asarray(total / (square + mean**2))


def _bounded_score(end: FloatArray, pairs: PairDifferences) -> FloatArray:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        score = _tango_score(end, pairs)
    return np.clip(np.nan_to_num(score, nan=0.0), 0.0, _largest_score())


def _tango_score(end: FloatArray, pairs: PairDifferences) -> FloatArray:
    """Return the score of a difference (Tango, 1998, equations 3 and 4) of the pairs' absolute means."""
    import numpy as np

    mean = np.abs(pairs.mean)
    images = _effective_images(pairs)
    gained = (pairs.changed + mean) / 2
    lost = (pairs.changed - mean) / 2
    linear = (2 - mean) * end - gained - lost
    constant = -lost * end * (1 - end)
    root = np.sqrt(np.maximum(linear**2 - 8 * constant, 0.0))
    variance = (root - linear) / 2 + end * (1 - end)
    excess = np.maximum(mean - end, 0.0)
    return np.asarray(np.where(excess > 0, excess * np.sqrt(images / variance), 0.0))


def _effective_images(pairs: PairDifferences) -> FloatArray:
    """Return the number of independent images, as `share_intervals` has it."""
    count = pairs.image_count
    events = count * (pairs.changed - pairs.mean**2)
    image_events = count * (count - 1) * pairs.images
    return count * (events + PRIOR_EVENTS) / (image_events + PRIOR_EVENTS)


def _replicate_parts(pairs: PairDifferences, z: FloatArray) -> FloatArray:
    """Return `BoardVariances.replicate_part` of each pair at the confidence of each z."""
    import numpy as np

    count = pairs.unit_count
    if count < 2:
        return np.zeros_like(z)
    units = pairs.units * (1 + count) if pairs.unreplicated else pairs.units
    part = _student_quantiles(count - 1, z) ** 2 * units
    both = pairs.seeds > 0
    if both.any():
        own, seeds = units[both], pairs.seeds[both]
        total = own + seeds
        spread = own**2 / (count - 1) + seeds**2 / (pairs.seed_count - 1)
        joined = _student_quantiles(total**2 / spread, z[both]) ** 2 * total
        alone = _student_quantiles(pairs.seed_count - 1, z[both]) ** 2 * seeds
        part[both] = np.maximum.reduce([part[both], joined, alone])
    return np.maximum(part - z**2 * pairs.residual, 0.0)


def _student_quantiles(degrees: int | FloatArray, z: FloatArray) -> FloatArray:
    """Return the quantiles of t at which its tail is the normal one beyond z."""
    import numpy as np

    if not isinstance(degrees, int):
        from scipy.special import stdtrit

        return np.asarray(-stdtrit(degrees, _normal_tail(z)))
    nodes, slopes, width = _quantile_table(degrees)
    place = np.minimum((z / width).astype(np.intp), len(nodes) - 2)
    x = z / width - place
    # Cubic Hermite interpolation, whose slopes are known: a hundred times as fast as the quantile itself.
    value = nodes[place] * (1 + 2 * x) * (1 - x) ** 2 + nodes[place + 1] * x**2 * (3 - 2 * x)
    value += width * (slopes[place] * x * (1 - x) ** 2 - slopes[place + 1] * x**2 * (1 - x))
    return np.asarray(value)


@lru_cache(maxsize=64)
def _quantile_table(degrees: int) -> tuple[FloatArray, FloatArray, float]:
    """Return quantiles of t at evenly spaced z from 0, their slopes, and the step of z."""
    import numpy as np
    from scipy.special import gammaln, stdtrit

    z = np.linspace(0, _largest_score(), QUANTILE_NODES)
    nodes = -stdtrit(degrees, _normal_tail(z))
    half = (degrees + 1) / 2
    log_density = gammaln(half) - gammaln(degrees / 2) - np.log(degrees * np.pi) / 2
    log_density = log_density - half * np.log1p(nodes**2 / degrees)
    slopes = np.exp(-(z**2) / 2 - np.log(2 * np.pi) / 2 - log_density)
    return nodes, slopes, float(z[1])


@lru_cache(maxsize=1)
def _largest_score() -> float:
    return -_normal_quantile(SMALLEST_P_VALUE / 2)


def _normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


def _normal_tail(z: FloatArray) -> FloatArray:
    import numpy as np
    from scipy.special import ndtr

    return np.asarray(ndtr(-z))
