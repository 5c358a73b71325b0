"""Coefficients of correlation along the last axis of arrays, NaN where one side has no spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.intp]

Coefficient: TypeAlias = Literal["Pearson", "Spearman", "Kendall"]
COEFFICIENTS: tuple[Coefficient, ...] = ("Pearson", "Spearman", "Kendall")
SPREAD = 1e-12
"""A side whose spread is smaller than this share of its size is constant but for rounding."""


def correlation(coefficient: Coefficient, x: Values, y: Values) -> Values:
    """Pearson's r, Spearman's rho or Kendall's tau-b of ``(..., S)`` with ``(..., S)``, as ``(...,)``."""
    first, second = _told(coefficient, x), _told(coefficient, y)
    return _shares((first * second).sum(-1), first, second)


def reordered(coefficient: Coefficient, x: Values, y: Values, orders: Places) -> Values:
    """The coefficient of ``(R, S)`` with each order ``(P, S)`` of ``(R, S)``, as ``(P, R)``.

    What a coefficient sees of a side is found once, then put into each order: values without their mean, ranks, the
    signs of differences.
    """
    import numpy as np

    first, second = _told(coefficient, x), _told(coefficient, y)
    points = x.shape[-1]
    places = orders
    if coefficient == "Kendall":  # what is reordered is a matrix, in rows and columns alike
        places = (orders[:, :, None] * points + orders[:, None, :]).reshape(len(orders), -1)
    products = np.stack([other[places] @ one for one, other in zip(first, second, strict=True)], axis=-1)
    return _shares(products, first, second)


def _told(coefficient: Coefficient, x: Values) -> Values:
    """What a coefficient compares of one side; the coefficient is the cosine between two of them."""
    if coefficient == "Kendall":
        return _signs(x)
    return _centred(_ranks(x)) if coefficient == "Spearman" else _centred(x)


def _shares(products: Values, x: Values, y: Values) -> Values:
    """Products as shares of the most that they could be."""
    import numpy as np

    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(scale > 0, products / scale, np.nan))


def _centred(x: Values) -> Values:
    """What is left without the mean; exactly 0 where all values are one but for rounding."""
    import numpy as np

    spread = x.max(-1, keepdims=True) - x.min(-1, keepdims=True)
    flat = spread <= SPREAD * np.abs(x).max(-1, keepdims=True)
    return np.asarray(np.where(flat, 0.0, x - x.mean(-1, keepdims=True)))


def _signs(x: Values) -> Values:
    """The sign of the difference of each pair of values, as ``(..., S * S)``."""
    import numpy as np

    return np.asarray(np.sign(x[..., :, None] - x[..., None, :])).reshape(*x.shape[:-1], -1)


def _ranks(x: Values) -> Values:
    """Ranks from 1; equal values share the mean of theirs, and what is no number has none."""
    import numpy as np

    below = (x[..., None, :] < x[..., :, None]).sum(-1)
    level = (x[..., None, :] == x[..., :, None]).sum(-1)
    return np.where(np.isnan(x), np.nan, below + (level + 1) / 2)
