"""Intervals of shares, means and paired differences; how well one number predicts another; corrected p values.

A t-interval over 3 to 10 seeds keeps its nominal coverage, which z-intervals and the percentile bootstrap do not.
Sums are exact (`math.fsum`), so that no number depends on the order of its inputs.
"""

from advtransfer.statistics.association import Association, Resampled, associations, without_each
from advtransfer.statistics.correlation import COEFFICIENTS, Coefficient
from advtransfer.statistics.holm import holm
from advtransfer.statistics.intervals import Estimate, clustered_interval, mean_interval, paired_delta, wilson

__all__ = [
    "COEFFICIENTS",
    "Association",
    "Coefficient",
    "Estimate",
    "Resampled",
    "associations",
    "clustered_interval",
    "holm",
    "mean_interval",
    "paired_delta",
    "wilson",
    "without_each",
]
