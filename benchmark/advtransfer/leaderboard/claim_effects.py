"""The measured effect of a claim, with its 95 % interval, p value and what they are over.

A contrast and a cost compare rows (`row_comparison`), a correlation is that of a question (`questions_coefficients`),
and an inequality is looked at in each test image. Rows that are not ranked and trials that failed are no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum

from advtransfer.leaderboard.aggregates import Aggregate, MetricPair, mean_paired_difference
from advtransfer.leaderboard.answer import UNITS
from advtransfer.leaderboard.claim_correlation import correlation_per_training
from advtransfer.leaderboard.claim_inequality import measure_inequality
from advtransfer.leaderboard.claim_power import (
    detectable_correlation,
    detectable_mean,
    detectable_share,
)
from advtransfer.leaderboard.claims_config import Claim
from advtransfer.leaderboard.markdown import count_noun, format_number, join_parts
from advtransfer.leaderboard.questions_coefficients import PredictorResult, uncorrected_answer
from advtransfer.leaderboard.row_comparison import Comparison, RankedTables, compare_rows
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, mean_seconds


@dataclass(frozen=True, slots=True)
class ClaimEffect:
    """What was measured of a claim.

    Attributes:
        low: The effect; its lower end where outcomes are unknown.
        high: Its upper end, equal to `low` without unknown outcomes.
        interval: Its 95 % interval, None without one.
        p_value: p of an effect of `null`, None where it is not tested.
        null: The value without an effect: 0, and 1/2 of a share.
        basis: What interval and p are over, with their number n.
        detectable: The smallest effect that the design finds with power .8, None where it is not known.
        is_counted: Whether it is a count, which has no sampling error.
        details: Further numbers, empty without any.
    """

    low: float
    high: float
    interval: tuple[float, float] | None
    p_value: float | None
    basis: str
    null: float = 0.0
    detectable: float | None = None
    is_counted: bool = False
    details: str = ""


def measure_claim(
    claim: Claim, data: RunData, tables: RankedTables, *, family_size: int
) -> ClaimEffect | str:
    """Return the effect of a claim, or why it has none.

    Args:
        claim: A claim that is asked.
        data: The run.
        tables: Its tables.
        family_size: Claims whose p values are corrected together, for the detectable effect.

    Raises:
        BadInput: A metric is not in the records, or several match.
    """
    if claim.question is not None and claim.per_training:
        return _per_training(claim, data, family_size)
    if claim.question is not None:
        return _correlation(claim, data, family_size)
    if claim.inequality is not None:
        return _inequality(claim, data, family_size)
    assert claim.contrast is not None
    comparison = compare_rows(claim.contrast, data, tables)
    if claim.kind == "cost":
        return _cost(comparison, data)
    minus = None if claim.minus is None else compare_rows(claim.minus, data, tables)
    return _contrast(comparison, minus, data, family_size)


def _contrast(
    first: Comparison, second: Comparison | None, data: RunData, family_size: int
) -> ClaimEffect | str:
    """Return the mean difference of the pairs, less that of a second contrast."""
    both = [first] if second is None else [first, second]
    if reason := next(filter(None, map(_unmeasured_reason, both)), ""):
        return reason
    pairs = first.metric_pairs(data)
    if second is not None:
        if len(first.pairs) != len(second.pairs):
            pairs_text = count_noun(len(first.pairs), "pair")
            return f"{pairs_text} of rows, and {len(second.pairs)} of `minus`; as many are needed"
        for target, swapped in second.metric_pairs(data).items():
            # a - b - (c - d) is twice the mean of a - b and d - c, over common trainings and seeds.
            pairs.setdefault(target, []).extend((theirs, ours) for ours, theirs in swapped)
    difference = _mean_difference(pairs, [row for each in both for row in each.rows], data)
    if difference is None:
        return "no training and seed has been measured for all of these rows"
    if difference.unit_count < 2:
        return "one training and seed alone, which tells nothing of others"
    if second is not None:
        difference = _doubled(difference)
    return ClaimEffect(
        difference.low,
        difference.high,
        difference.interval,
        difference.p_value,
        _basis_text(difference, sum(len(each.pairs) for each in both)),
        detectable=detectable_mean(
            difference.interval, difference.unit_count, family_size=family_size
        ),
    )


def _mean_difference(
    pairs: dict[str, list[MetricPair]], rows: Sequence[LeaderboardRow], data: RunData
) -> Aggregate | None:
    return mean_paired_difference(
        pairs,
        deterministic=all(row.is_deterministic(data) for row in rows),
        has_trainings=all(row.source is not None for row in rows),
    )


def _doubled(difference: Aggregate) -> Aggregate:
    ends = difference.interval
    return replace(
        difference,
        low=2 * difference.low,
        high=2 * difference.high,
        interval=None if ends is None else (2 * ends[0], 2 * ends[1]),
    )


def _basis_text(difference: Aggregate, pair_count: int) -> str:
    units = UNITS.get(difference.basis, "").format(difference.unit_count)
    images = f"{difference.image_count:,} test images" if difference.image_count else ""
    pairs = count_noun(pair_count, "pair") + " of rows" if pair_count > 1 else ""
    return join_parts([units, images, pairs], ", ")


def _unmeasured_reason(comparison: Comparison) -> str:
    """Return why a comparison has no ranked pair of rows, empty where it has."""
    if comparison.left_out:
        # An average over the pairs that worked would be of those that went well.
        return (
            f"{count_noun(comparison.left_out, 'pair')} of rows of which one is not ranked "
            "(incomplete, unchecked, suspicious, or did not learn)"
        )
    return "" if comparison.pairs else "no two such rows have results"


def _cost(comparison: Comparison, data: RunData) -> ClaimEffect | str:
    """Return by which share the gradient passes of one side exceed the other's, seconds beside."""
    if reason := _unmeasured_reason(comparison):
        return f"gradient passes are not known: {reason}"
    spent: list[tuple[float, float]] = []
    seconds: list[tuple[float, float]] = []
    for pair in comparison.pairs:
        rows = (pair.line.row, pair.other.row)
        counts = [row.metric_values(comparison.ranking.column, data) for row in rows]
        means = [fsum(each.low for each in of_row.values()) / len(of_row) for of_row in counts]
        spent.append((means[0], means[1]))
        times = [mean_seconds(row, data) for row in rows]
        if times[0] is not None and times[1] is not None:
            seconds.append((times[0].fit, times[1].fit))
    of, against = (fsum(side) for side in zip(*spent, strict=True))
    if not against:
        return "the rows that it is compared with spent no gradient pass"
    ratio = of / against - 1
    details = f"{of / len(spent):,.0f} against {against / len(spent):,.0f} gradient passes"
    if seconds:
        ours, theirs = (fsum(side) / len(seconds) for side in zip(*seconds, strict=True))
        details += f"; {format_number(ours)} against {format_number(theirs)} s"
    trials = sum(len(pair.line.row.trials) for pair in comparison.pairs)
    return ClaimEffect(
        ratio,
        ratio,
        None,
        None,
        f"counted in {count_noun(trials, 'trial')}",
        is_counted=True,
        details=details,
    )


def _correlation(claim: Claim, data: RunData, family_size: int) -> ClaimEffect | str:
    """Return the coefficient of a question with one scope."""
    assert claim.question is not None
    answer = uncorrected_answer(claim.question, data)
    if len(answer.results) != 1:
        return f"`given` selects {len(answer.results)} places; one is needed"
    ((result,),) = answer.results.values()
    association = result.coefficients[claim.coefficient]
    if association.value is None:
        return f"{count_noun(len(result.points.points), 'point')}, or one side has no spread"
    points = len(result.points.points)
    return ClaimEffect(
        association.value,
        association.value,
        association.interval,
        association.p,
        _points_text(result, claim),
        detectable=detectable_correlation(points, family_size=family_size),
    )


def _points_text(result: PredictorResult, claim: Claim) -> str:
    text = f"{claim.coefficient}, {count_noun(len(result.points.points), 'point')}"
    if not result.is_testable:
        origins = count_noun(result.origin_count, "source")
        text += f" that descend from {origins}, so no p"
    return text


def _per_training(claim: Claim, data: RunData, family_size: int) -> ClaimEffect | str:
    """Return the mean coefficient of all trainings, with a t-interval over them."""
    assert claim.question is not None
    found = correlation_per_training(claim.question, claim.coefficient, data)
    if isinstance(found, str):
        return found
    estimate = found.estimate
    interval = estimate.interval
    if interval is not None:
        interval = (max(-1.0, interval[0]), min(1.0, interval[1]))
    points = count_noun(found.point_count, "point")
    return ClaimEffect(
        estimate.mean,
        estimate.mean,
        interval,
        found.p_value,
        f"{claim.coefficient}, {count_noun(estimate.units, 'training')} of {points} each{found.remark}",
        detectable=detectable_mean(estimate.interval, estimate.units, family_size=family_size),
    )


def _inequality(claim: Claim, data: RunData, family_size: int) -> ClaimEffect | str:
    """Return the share of test images, or of trainings, at which an inequality holds."""
    assert claim.inequality is not None
    found = measure_inequality(claim.inequality, data)
    if isinstance(found, str):
        return found
    share = found.kept / found.of
    return ClaimEffect(
        share,
        share,
        found.interval,
        found.p_value,
        found.basis,
        null=0.5,
        detectable=detectable_share(found.of, family_size=family_size),
        details=f"largest violation {format_number(found.largest_violation, fine=True)}",
    )
