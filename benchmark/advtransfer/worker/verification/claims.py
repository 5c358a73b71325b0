"""Claims of robust accuracy.

The ball that each is verified in, and its comparison with a battery's outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from advtransfer.types import Check, CheckStatus, Measurement, Outcome
from advtransfer.worker.verification.config import (
    NORMS,
    SUSPICIOUS_SHARE,
    BatteryConfig,
    ThreatModel,
    share_lower_bound,
    status_of_share,
)

CLAIM_PREFIX = "robust_accuracy"
"""Prefix of the metrics that a battery verifies; other metrics are shown without verification."""

UNVERIFIABLE_STATUSES: dict[str, CheckStatus] = {"claims": "suspicious", "claimed_radius": "fail"}
"""Status of the checks for claims that no battery can verify.

A claim without proof is suspicious; one whose examples have another radius fails. Otherwise a
plugin could avoid the battery by returning less, and be ranked unchecked.
"""


@dataclass(frozen=True, slots=True)
class RobustnessClaim:
    """A robust accuracy, verified in the ball of its examples, or unverifiable.

    Args:
        metric: Name of the metric.
        threat: The ball; None where the claim cannot be verified.
        check: The check of `UNVERIFIABLE_STATUSES` that the claim then fails.
        reason: Why it cannot be verified.
    """

    metric: str
    threat: ThreatModel | None = None
    check: str = ""
    reason: str = ""


def robustness_claims(measurement: Measurement) -> list[RobustnessClaim]:
    """Return the claims among a measurement's metrics, in their order.

    Metrics at radius 0 are left out: they claim no robustness.
    """
    claims = []
    for name in (*measurement.outcomes, *measurement.metrics):
        if name.startswith(CLAIM_PREFIX):
            claim = _claim_of_metric(name, measurement)
            if claim is not None:
                claims.append(claim)
    return claims


def unverifiable_checks(claimed: Iterable[RobustnessClaim]) -> list[Check]:
    """Return the checks of the claims that no battery can verify."""
    claims = list(claimed)
    checks = []
    for name, status in UNVERIFIABLE_STATUSES.items():
        reasons = [claim.reason for claim in claims if claim.check == name]
        if reasons:
            checks.append(Check(name, status, len(reasons), 0, len(claims), "; ".join(reasons)))
    return checks


def _claim_of_metric(name: str, measurement: Measurement) -> RobustnessClaim | None:
    stated = name.partition("@")[2]
    balls = sorted(
        {
            (examples.norm, examples.eps)
            for examples in measurement.examples
            if examples.metric == name
        }
    )
    if _claims_nothing(stated, {eps for _, eps in balls}):
        return None
    if name not in measurement.outcomes:
        return RobustnessClaim(
            name, check="claims", reason=f"{name} is a bare number, without outcomes of samples"
        )
    if len(balls) != 1:
        found = f"examples in {len(balls)} balls" if balls else "no examples"
        expected = "those of one, of no sample where it broke none"
        return RobustnessClaim(
            name, check="claims", reason=f"{name} has {found}, where expected are {expected}"
        )
    norm, eps = balls[0]
    # Compared as printed, since names carry rounded numbers or fractions such as 8/255.
    if stated and f"{_stated_radius(stated):g}" != f"{eps:g}":
        return RobustnessClaim(
            name, check="claimed_radius", reason=f"{name} has examples within {eps:g}"
        )
    if norm not in NORMS:
        return RobustnessClaim(
            name,
            check="claims",
            reason=f"{name} is of norm {norm}, in which the host has no attack",
        )
    return RobustnessClaim(name, ThreatModel(norm, eps))


def _claims_nothing(stated: str, radii: set[float]) -> bool:
    """Return whether a metric's radius is 0, in its name (if it has one there) and its examples."""
    if not radii <= {0}:
        return False
    return _stated_radius(stated) == 0 if stated else bool(radii)


def _stated_radius(stated: str) -> float:
    """Return the radius after the @ of a metric's name; NaN where it is not a number."""
    try:
        return float(Fraction(stated))
    except (ValueError, ArithmeticError):
        return float("nan")


MISSED_TEXTS = {
    "more_steps": "lower bound of the share that {steps} steps of the host's own attack broke and this one did not, "
    "however many it took",
    "restarts": "the same with other starts and cross-entropy",
    "noise": "lower bound of the share that random noise broke and this attack did not",
    "single_step": "lower bound of the share that one step broke and this attack did not",
    "transferred": "lower bound of the share that the source's examples broke and this attack did not",
}
"""Text of the check that compares an evaluation with an attack, by the attack's name."""


def compare_outcomes(
    outcomes: Sequence[int],
    positions: Tensor,
    probes: Mapping[str, Tensor],
    *,
    battery: BatteryConfig,
) -> list[Check]:
    """Return the checks that compare one outcome metric with a battery's attacks.

    `more_steps` uses the battery's own number of steps (40 in the small battery, 100 in the full
    one), since the steps of the evaluation are unknown. To PGD-50 and above it is a different
    attack rather than a longer one.

    Args:
        outcomes: The evaluation's, one per test sample.
        positions: Positions of the samples that the battery attacked, ``(B,)``.
        probes: Their outcomes, ``(B,)`` by attack; empty if no sample was classified correctly.
        battery: Amount of work of the battery.
    """
    claimed = torch.tensor(outcomes)[positions]
    checks = [_finished_check(outcomes)]
    if probes:
        # Every attack leaves WRONG exactly the samples that are wrong without attack.
        checks.append(_eps_zero_check(claimed, next(iter(probes.values()))))
    for name, template in MISSED_TEXTS.items():
        text = template.format(steps=battery.steps)
        if name in probes:
            checks.append(_missed_check(name, claimed, probes[name], text))
        else:
            checks.append(Check(name, "not applicable", 0, SUSPICIOUS_SHARE, 0, text))
    return checks


def _missed_check(name: str, claimed: Tensor, broken: Tensor, text: str) -> Check:
    missed = (claimed == Outcome.ROBUST) & (broken == Outcome.BROKEN)
    share = share_lower_bound(int(missed.sum()), len(missed))
    return Check(name, status_of_share(share), share, SUSPICIOUS_SHARE, len(missed), text)


def _eps_zero_check(claimed: Tensor, probe: Tensor) -> Check:
    """Check that the evaluation finds the same samples wrong without attack as the host does."""
    wrong = probe == Outcome.WRONG
    differs = ((claimed == Outcome.WRONG) & ~wrong) | ((claimed == Outcome.ROBUST) & wrong)
    status: CheckStatus = "fail" if differs.any() else "pass"
    text = "samples whose prediction without attack the host finds otherwise"
    return Check("eps_zero", status, int(differs.sum()), 0, len(differs), text)


def _finished_check(outcomes: Sequence[int]) -> Check:
    unknown = sum(outcome == Outcome.UNKNOWN for outcome in outcomes)
    share = share_lower_bound(unknown, len(outcomes))
    status: CheckStatus = "suspicious" if share > SUSPICIOUS_SHARE else "pass"
    text = "lower bound of the share whose attack did not end, or gave an illegal example"
    return Check("finished", status, share, SUSPICIOUS_SHARE, len(outcomes), text)
