"""An inequality that a paper claims: the share of test images, or of trainings, at which it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from advtransfer.leaderboard.claims_config import Inequality
from advtransfer.leaderboard.markdown import count_noun
from advtransfer.leaderboard.questions_families import SourceParents, origins_of
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import Column, find_column
from advtransfer.planning import Trial
from advtransfer.statistics import wilson_interval

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

RELATIVE_TOLERANCE = 1e-6
"""How far the smaller side may exceed the larger one by rounding: arrays are stored in float32."""


@dataclass(frozen=True, slots=True)
class InequalityShare:
    """How often an inequality holds.

    Attributes:
        kept: Units at which it holds in every trial.
        of: All units.
        largest_violation: Largest excess of the lower side over the upper one, negative without a violation.
        basis: What the units are.
    """

    kept: int
    of: int
    largest_violation: float
    basis: str

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson, 1927)."""
        return wilson_interval(self.kept, self.of)

    @property
    def p_value(self) -> float:
        """The p value of a share of 1/2: the exact two-sided sign test."""
        return sign_test_p(self.kept, self.of)


def sign_test_p(kept: int, of: int) -> float:
    """Return the exact two-sided p of `kept` of `of` where each is as likely as not."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(kept, of - kept), of, 0.5)))


def measure_inequality(inequality: Inequality, data: RunData) -> InequalityShare | str:
    """Return how often an inequality holds, or why that is not known.

    Where every metric of both sides has its values by image of one test part, units are the images, and an image
    counts where the inequality holds in all trials. Else they are the trainings that the trials descend from.

    Raises:
        BadInput: A metric is not in the records, or several match.
    """
    trials = [trial for trial in data.plan.trials if inequality.trials.selects_trial(trial)]
    sides = [
        [find_column(part, data) if isinstance(part, str) else part for part in side]
        for side in (inequality.lower, inequality.upper)
    ]
    ranked = [trial for trial in trials if _is_ranked(sides, trial, data)]
    if len(ranked) < len(trials) or not trials:
        # The one that failed may be the one that violates it.
        without = len(trials) - len(ranked)
        return f"{without} of {count_noun(len(trials), 'trial')} without a ranked result, and it is over all"
    # Images of two test parts have nothing in common but their number.
    has_one_part = len(_test_parts(sides, ranked, data)) == 1
    by_image = [_image_excess(sides, trial, data) if has_one_part else None for trial in ranked]
    arrays = [excess for excess in by_image if excess is not None]
    if len(arrays) == len(ranked) and len({len(excess) for excess in arrays}) == 1:
        return _over_images(arrays)
    return _over_trainings(sides, ranked, data)


def _is_ranked(sides: Sequence[Sequence[Column | float]], trial: Trial, data: RunData) -> bool:
    columns = [part for side in sides for part in side if isinstance(part, Column)]
    results = [column.results_of(trial, data) for column in columns]
    return bool(columns) and all(
        of_column and all(result.verdict.is_ranked for result in of_column) for of_column in results
    )


def _test_parts(
    sides: Sequence[Sequence[Column | float]], trials: Sequence[Trial], data: RunData
) -> set[str]:
    """Return the ids of the test parts that the metrics of both sides are measured on."""
    columns = [part for side in sides for part in side if isinstance(part, Column)]
    return {
        result.test_id
        for trial in trials
        for column in columns
        for result in column.results_of(trial, data)
    }


def _image_excess(
    sides: Sequence[Sequence[Column | float]], trial: Trial, data: RunData
) -> FloatArray | None:
    """Return lower less upper side, less the tolerance, ``(N,)``; None without values by image."""
    import numpy as np

    totals: list[FloatArray | float] = []
    for side in sides:
        total: FloatArray | float = 0.0
        for part in side:
            if not isinstance(part, Column):
                total = total + part
                continue
            arrays = [
                result.image_values.get(part.metric or "")
                for result in part.results_of(trial, data)
            ]
            known = [array for array in arrays if array is not None]
            if len(known) < len(arrays) or len({len(array) for array in known}) != 1:
                return None
            total = total + np.stack(known).mean(0)
        totals.append(total)
    lower, upper = totals
    tolerance = RELATIVE_TOLERANCE * np.maximum(1.0, np.abs(upper))
    excess = np.asarray(lower - upper - tolerance)
    return excess if excess.ndim == 1 else None


def _over_images(arrays: Sequence[FloatArray]) -> InequalityShare | str:
    import numpy as np

    excess = np.stack(arrays)
    # NaN marks images that a metric is not computed over.
    worst = excess[:, ~np.isnan(excess).any(0)].max(0, initial=-np.inf)
    if not len(worst):
        return "no test image has all of its numbers in every trial"
    kept = int((worst <= 0).sum())
    basis = f"{count_noun(len(worst), 'test image')}, in all {count_noun(len(arrays), 'trial')}"
    return InequalityShare(kept, len(worst), float(worst.max()), basis)


def _over_trainings(
    sides: Sequence[Sequence[Column | float]], trials: Sequence[Trial], data: RunData
) -> InequalityShare:
    parents: SourceParents = {id: source.parents for id, source in data.source_data.items()}
    worst: dict[object, float] = {}
    for trial in trials:
        lower, upper = (_trial_total(side, trial, data) for side in sides)
        excess = lower - upper - RELATIVE_TOLERANCE * max(1.0, abs(upper))
        # A trial without a source begins anew for every seed.
        unit: object = origins_of([trial], parents) or trial.id
        worst[unit] = max(excess, worst.get(unit, excess))
    kept = sum(excess <= 0 for excess in worst.values())
    basis = f"{count_noun(len(worst), 'training')}, in all {count_noun(len(trials), 'trial')}"
    return InequalityShare(kept, len(worst), max(worst.values()), basis)


def _trial_total(side: Sequence[Column | float], trial: Trial, data: RunData) -> float:
    values: list[float] = []
    for part in side:
        if isinstance(part, Column):
            metric = part.metric_of(trial, data)
            assert metric is not None  # of a ranked trial
            values.append(metric.low)
        else:
            values.append(part)
    return fsum(values)
