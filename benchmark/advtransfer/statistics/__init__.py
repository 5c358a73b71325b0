"""Confidence intervals of shares and means, correlation coefficients with tests, and corrected p values.

Shares with an outcome for every test image have intervals over trainings, subset seeds and images; other numbers
have a t-interval over trainings or seeds. Over 3 to 10 values it keeps its nominal coverage, which z-intervals and
the percentile bootstrap do not.
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
    t_p_value,
    wilson_interval,
)
from advtransfer.statistics.share_intervals import (
    difference_interval,
    difference_p_value,
    share_interval,
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
    "difference_interval",
    "difference_p_value",
    "holm_correction",
    "leave_one_out",
    "mean_interval",
    "share_interval",
    "t_p_value",
    "wilson_interval",
]
