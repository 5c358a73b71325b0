"""Comparison of an evaluation with the host's batteries: its checks, and the verdict on reading.

A result record stores the checks of the day it was measured. A battery that was run later, of
another version or size, stands in for the recorded one: its checks are taken, and the comparison
is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from advtransfer.result.battery_index import BatteryEvidence, BatteryIndex, RecordJson
from advtransfer.result.evidence import FoldedResult, fold_result
from advtransfer.result.outcomes import SampleOutcomes
from advtransfer.result.verdict import BATTERY_CHECKS, Verdict, base_name, verdict_from_checks
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, CheckStatus
from advtransfer.types.metric_names import attack_name

SUSPICIOUS_SHARE = 0.05
"""Largest lower bound of a share of bad or missed samples that still passes a check."""

STRONG_SHARE = 0.02
"""The same for samples missed by an evaluation that claims to be strong, and for signs of masking.

Stricter, since such an attack should find what the host's own ascent finds.
"""

SATURATED_SHARE = 0.8
"""Largest lower bound of the share of samples without a gradient of cross-entropy in float32.

Measured on the digits: of networks whose logits are scaled, .00 to .16 at 12 times and .62 to .76 at 30
times; .90 to .96 where the median margin is 300, which a natural network reaches at 60 times.
"""

FAIL_SHARE = 0.15
"""Largest lower bound of a share of samples that is only suspicious; above it a check of a model fails."""

MISSED_TEXT = (
    "lower bound of the share that the host's own attacks broke and this evaluation left robust or "
    "unknown; the robust accuracy on pages counts these samples as broken"
)


def share_lower_bound(hits: int, of: int) -> float:
    """Return the one-sided 95 % lower bound of the share `hits / of` (Wilson, 1927); 0 if `of` is 0."""
    if not of:
        return 0.0
    # The lower end of a two-sided 90 % interval leaves 5 % below it: a one-sided 95 % bound.
    return wilson_interval(hits, of, confidence=0.9)[0]


def missed_limit(*, is_strong: bool) -> float:
    """Return the largest lower bound of the share that an evaluation may miss: less if it is strong."""
    return STRONG_SHARE if is_strong else SUSPICIOUS_SHARE


def status_of_share(share: float) -> CheckStatus:
    """Return the status of a check of a model from the lower bound of its share of bad samples."""
    if share > FAIL_SHARE:
        return "fail"
    return "suspicious" if share > SUSPICIOUS_SHARE else "pass"


def compare_outcomes(
    outcomes: SampleOutcomes, battery: BatteryEvidence, *, limit: float = SUSPICIOUS_SHARE
) -> list[Check]:
    """Return the checks that compare the outcomes of one metric with those of a battery.

    Missed samples are never more than suspicious: they are counted as broken wherever the robust
    accuracy is shown, so a weak attack alone makes no number wrong.

    Args:
        outcomes: The evaluation's.
        battery: What the battery found in the samples it attacked.
        limit: Largest lower bound of the missed share that passes.
    """
    return [
        finished_check(outcomes),
        _eps_zero_check(outcomes, battery),
        missed_check(outcomes, battery, limit=limit),
    ]


def missed_check(
    outcomes: SampleOutcomes, battery: BatteryEvidence, *, limit: float, text: str = MISSED_TEXT
) -> Check:
    """Check that few samples that a battery broke were left robust or unknown."""
    attacked_count = battery.attacked_count
    share = share_lower_bound(battery.missed_count(outcomes), attacked_count)
    status: CheckStatus = "suspicious" if share > limit else "pass"
    return Check("missed", status, share, limit, attacked_count, text)


def _eps_zero_check(outcomes: SampleOutcomes, battery: BatteryEvidence) -> Check:
    """Check that the evaluation finds the same samples wrong without attack as the host does."""
    only_claimed = outcomes.wrong & battery.attacked & ~battery.wrong
    only_found = outcomes.robust & battery.wrong
    count = only_claimed.bit_count() + only_found.bit_count()
    text = "samples whose prediction without attack the host finds otherwise"
    return Check("eps_zero", "fail" if count else "pass", count, 0, battery.attacked_count, text)


def finished_check(outcomes: SampleOutcomes) -> Check:
    """Check that few samples are without a valid outcome."""
    share = share_lower_bound(outcomes.unknown.bit_count(), outcomes.of)
    status: CheckStatus = "suspicious" if share > SUSPICIOUS_SHARE else "pass"
    text = "lower bound of the share whose attack did not end, or gave an illegal example"
    return Check("finished", status, share, SUSPICIOUS_SHARE, outcomes.of, text)


class JudgedResult(NamedTuple):
    """A result record, its outcomes after the fold, and its checks by the newest batteries."""

    record: RecordJson
    folded: FoldedResult
    checks: list[Check]


def judge_result(record: RecordJson, batteries: BatteryIndex) -> JudgedResult:
    """Return a result record, folded with some batteries and held to them."""
    folded = fold_result(record, batteries)
    return JudgedResult(record, folded, folded_checks(record, folded))


def verdict_with_batteries(record: RecordJson, batteries: BatteryIndex) -> Verdict:
    """Return the verdict on a result record by the rules and the batteries of today."""
    return verdict_from_checks(judge_result(record, batteries).checks)


def folded_checks(record: RecordJson, folded: FoldedResult) -> list[Check]:
    """Return a result's checks, those of and with its batteries by the newest ones of the run.

    Stored checks stay where no battery of today is at hand.
    """
    stored = record.get("checks") or ()
    found = folded.newest if record.get("battery") else {}
    # Any: JSON; `Check(**check)` raises for a missing or an unknown field.
    if not found or None in found.values():
        return [Check(**check) for check in stored]
    checks: list[Check] = []
    limit = SUSPICIOUS_SHARE
    for check in stored:
        name = base_name(check["name"])
        if name not in BATTERY_CHECKS:
            checks.append(Check(**check))
        elif name == "missed":
            limit = min(limit, check["limit"])
    for metric, battery in found.items():
        if battery is None:
            continue
        own = [
            *compare_outcomes(folded.outcomes[attack_name(metric)], battery, limit=limit),
            *battery.checks,
        ]
        checks += own if len(found) == 1 else named_by_eps(own, battery.ball.eps)
    return checks


def named_by_eps(checks: Sequence[Check], eps: float) -> list[Check]:
    """Return the checks of one of several balls, named as in ``noise@0.1``."""
    return [replace(check, name=f"{check.name}@{eps:g}") for check in checks]
