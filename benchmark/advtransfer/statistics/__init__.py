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
from advtransfer.statistics.curve_weights import accuracy_weights, trapezoid_weights
from advtransfer.statistics.intervals import (
    MeanEstimate,
    clustered_interval,
    mean_interval,
    t_p_value,
    wilson_interval,
)
from advtransfer.statistics.pair_p_values import (
    board_p_values,
    difference_p_value,
    difference_p_values,
)
from advtransfer.statistics.pairwise import (
    PairDifferences,
    image_differences,
    value_differences,
)
from advtransfer.statistics.rank_ranges import (
    FAMILY_LEVEL,
    RankRange,
    SeparationNeed,
    detectable_difference,
    first_holm_level,
    rank_ranges,
    separated_pairs,
    separation_need,
    separation_power,
)
from advtransfer.statistics.share_intervals import (
    BoardDifference,
    board_difference,
    difference_interval,
    share_interval,
)

__all__ = [
    "COEFFICIENTS",
    "FAMILY_LEVEL",
    "Association",
    "BoardDifference",
    "ChanceLevel",
    "Coefficient",
    "MeanEstimate",
    "PairDifferences",
    "RankRange",
    "Resampler",
    "SeparationNeed",
    "accuracy_weights",
    "all_associations",
    "board_difference",
    "board_p_values",
    "chance_levels",
    "clustered_interval",
    "detectable_difference",
    "difference_interval",
    "difference_p_value",
    "difference_p_values",
    "first_holm_level",
    "holm_correction",
    "image_differences",
    "leave_one_out",
    "mean_interval",
    "rank_ranges",
    "separated_pairs",
    "separation_need",
    "separation_power",
    "share_interval",
    "t_p_value",
    "trapezoid_weights",
    "value_differences",
    "wilson_interval",
]
