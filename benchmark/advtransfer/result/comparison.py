"""Comparison of an evaluation with the host's batteries: its checks, and the verdict on reading.

A result record stores the checks of the day it was measured. A battery that was run later, of
another version or size, stands in for the recorded one: its checks are taken, and the comparison
is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from advtransfer.result.evidence import (
    ROBUST,
    UNKNOWN,
    WRONG,
    BatteryEvidence,
    BatteryIndex,
    FoldedResult,
    RecordJson,
    fold_result,
)
from advtransfer.result.verdict import BATTERY_CHECKS, Verdict, verdict_from_checks
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, CheckStatus
from advtransfer.types.metric_names import attack_name

if TYPE_CHECKING:
    from advtransfer.result.evidence import OutcomeArray

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
    outcomes: OutcomeArray | Sequence[int],
    battery: BatteryEvidence,
    *,
    limit: float = SUSPICIOUS_SHARE,
) -> list[Check]:
    """Return the checks that compare the outcomes of one metric with those of a battery.

    Missed samples are never more than suspicious: they are counted as broken wherever the robust
    accuracy is shown, so a weak attack alone makes no number wrong.

    Args:
        outcomes: The evaluation's, one per test sample.
        battery: What the battery found at the positions it attacked.
        limit: Largest lower bound of the missed share that passes.
    """
    import numpy as np

    values = np.asarray(outcomes, dtype=np.uint8)
    attacked_count = len(battery.positions)
    share = share_lower_bound(battery.missed_count(values), attacked_count)
    status: CheckStatus = "suspicious" if share > limit else "pass"
    return [
        _finished_check(values),
        _eps_zero_check(values, battery),
        Check("missed", status, share, limit, attacked_count, MISSED_TEXT),
    ]


def _eps_zero_check(outcomes: OutcomeArray, battery: BatteryEvidence) -> Check:
    """Check that the evaluation finds the same samples wrong without attack as the host does."""
    import numpy as np

    claimed = battery.attacked(outcomes)
    host_wrong = outcomes[battery.wrong_positions]
    only_claimed = np.count_nonzero(claimed == WRONG) - np.count_nonzero(host_wrong == WRONG)
    count = int(only_claimed + np.count_nonzero(host_wrong == ROBUST))
    text = "samples whose prediction without attack the host finds otherwise"
    return Check("eps_zero", "fail" if count else "pass", count, 0, len(claimed), text)


def _finished_check(outcomes: OutcomeArray) -> Check:
    import numpy as np

    unknown = int(np.count_nonzero(outcomes == UNKNOWN))
    share = share_lower_bound(unknown, len(outcomes))
    status: CheckStatus = "suspicious" if share > SUSPICIOUS_SHARE else "pass"
    text = "lower bound of the share whose attack did not end, or gave an illegal example"
    return Check("finished", status, share, SUSPICIOUS_SHARE, len(outcomes), text)


def verdict_with_batteries(record: RecordJson, batteries: BatteryIndex) -> Verdict:
    """Return the verdict on a result record by the rules and the batteries of today."""
    return verdict_from_checks(checks_with_batteries(record, batteries))


def checks_with_batteries(record: RecordJson, batteries: BatteryIndex) -> list[Check]:
    """Return `folded_checks` of a result that is folded with some batteries."""
    return folded_checks(record, fold_result(record, batteries))


def folded_checks(record: RecordJson, folded: FoldedResult) -> list[Check]:
    """Return a result's checks, those of and with its batteries by the newest ones of the run.

    Stored checks stay where no battery of today is at hand.
    """
    # Any: JSON; `Check(**check)` raises for a missing or an unknown field.
    stored: list[Check] = [Check(**check) for check in record.get("checks") or ()]
    found = folded.newest if record.get("battery") else {}
    if not found or None in found.values():
        return stored
    limit = min(
        [SUSPICIOUS_SHARE, *(one.limit for one in stored if check_base_name(one) == "missed")]
    )
    checks = [check for check in stored if check_base_name(check) not in BATTERY_CHECKS]
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


def check_base_name(check: Check) -> str:
    """Return the name of a check without its radius: ``noise`` of ``noise@0.1``."""
    return check.name.partition("@")[0]
