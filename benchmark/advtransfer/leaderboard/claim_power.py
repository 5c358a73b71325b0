"""The smallest effect that a claim's design finds with power .8, at Holm's first level: .05 over the claims of a suite.

It tells what a "cannot tell" is worth. That of a mean comes from the width of its measured interval, so it is
an estimate; those of a coefficient and of a share follow from n alone.
"""

from __future__ import annotations

from math import sqrt, tanh

POWER = 0.8
CONFIDENCE = 0.95
LEVEL = 0.05
FIELLER_VARIANCE = 1.06
"""Variance of Fisher's z of a rank coefficient, times n - 3 (Fieller, Hartley and Pearson, 1957)."""


def detectable_mean(
    interval: tuple[float, float] | None, unit_count: int, *, family_size: int
) -> float | None:
    """Return the detectable size of a mean from its 95 % interval: ``h (t_a + t_b) / t_95``.

    t_a is the quantile of the two-sided level, t_b that of the power and t_95 that of the interval, all with
    ``units - 1`` degrees of freedom; the normal's for one unit, whose interval is over images.
    """
    if interval is None:
        return None
    half = (interval[1] - interval[0]) / 2
    degrees = unit_count - 1
    critical = _quantile(1 - LEVEL / family_size / 2, degrees)
    interval_factor = _quantile((1 + CONFIDENCE) / 2, degrees)
    return half * (critical + _quantile(POWER, degrees)) / interval_factor


def detectable_correlation(points: int, *, family_size: int) -> float | None:
    """Return the detectable size of a coefficient over some points, by Fisher's z; None for 3 points or fewer."""
    if points <= 3:
        return None
    z = _quantile(1 - LEVEL / family_size / 2, 0) + _quantile(POWER, 0)
    return tanh(z * sqrt(FIELLER_VARIANCE / (points - 3)))


def detectable_share(of: int, *, family_size: int) -> float | None:
    """Return the share that the sign test of 1/2 detects, by the normal approximation; None where none does."""
    if 2.0 ** (1 - of) >= LEVEL / family_size:
        return None
    critical = _quantile(1 - LEVEL / family_size / 2, 0)
    power = _quantile(POWER, 0)
    # (s - 1/2) sqrt(n) = critical / 2 + power sqrt(s (1 - s)), solved by its square.
    scaled = power * power
    a = of + scaled
    b = -(of + critical * sqrt(of) + scaled)
    c = (sqrt(of) / 2 + critical / 2) ** 2
    share = (-b + sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)
    return share if share < 1 else None


def _quantile(probability: float, degrees: int) -> float:
    from scipy.special import ndtri, stdtrit

    return float(stdtrit(degrees, probability) if degrees > 0 else ndtri(probability))
