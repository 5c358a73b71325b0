"""Confidence intervals of shares and means, correlation coefficients with tests, and corrected p values.

A t-interval over 3 to 10 seeds keeps its nominal coverage, which z-intervals and the percentile bootstrap do not.
Sums of intervals are exact (`math.fsum`), so that no interval depends on the order of its values.
"""

from advtransfer.statistics.correlation import (
    COEFFICIENTS,
    Association,
    ChanceLevel,
    Coefficient,
    Resampler,
    all_associations,
    chance_levels,
    holm_correction,
    leave_one_out,
)
from advtransfer.statistics.intervals import (
    MeanEstimate,
    clustered_interval,
    mean_interval,
    wilson_interval,
)

__all__ = [
    "COEFFICIENTS",
    "Association",
    "ChanceLevel",
    "Coefficient",
    "MeanEstimate",
    "Resampler",
    "all_associations",
    "chance_levels",
    "clustered_interval",
    "holm_correction",
    "leave_one_out",
    "mean_interval",
    "wilson_interval",
]
