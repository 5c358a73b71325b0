"""Intervals of shares, means and paired differences; how well one number predicts another; corrected p values.

A t-interval over 3 to 10 seeds keeps its nominal coverage, which z-intervals and the percentile bootstrap do not.
Sums are exact (`math.fsum`), so that no number depends on the order of its inputs.
"""

from advtransfer.statistics.correlation import (
    COEFFICIENTS,
    Association,
    Coefficient,
    Resampler,
    all_associations,
    holm_correction,
    leave_one_out,
)
from advtransfer.statistics.intervals import (
    MeanEstimate,
    clustered_interval,
    mean_interval,
    paired_delta,
    wilson_interval,
)

__all__ = [
    "COEFFICIENTS",
    "Association",
    "Coefficient",
    "MeanEstimate",
    "Resampler",
    "all_associations",
    "clustered_interval",
    "holm_correction",
    "leave_one_out",
    "mean_interval",
    "paired_delta",
    "wilson_interval",
]
