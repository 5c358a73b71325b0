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
"""Metrics whose name begins so are held against a battery; others are shown as an attack, and never verified."""

UNVERIFIABLE_STATUSES: dict[str, CheckStatus] = {"claims": "suspicious", "claimed_radius": "fail"}
"""What claims that are held against no battery are worth: one without proof is doubted, one of another radius refused.

A plugin must not get round the battery by giving less, and so be left unchecked, which is ranked.
"""


@dataclass(frozen=True, slots=True)
class RobustnessClaim:
    """A robust accuracy; held in the ball of its examples, or in none.

    Args:
        metric: Its name.
        threat: The ball; None where it cannot be held.
        check: Which of `UNVERIFIABLE_STATUSES` it then fails.
        reason: Why, in words.
    """

    metric: str
    threat: ThreatModel | None = None
    check: str = ""
    reason: str = ""


def robustness_claims(measurement: Measurement) -> list[RobustnessClaim]:
    """The claims among an evaluation's metrics, in their order; those of a radius of 0 claim nothing."""
    named = [
        name
        for name in (*measurement.outcomes, *measurement.metrics)
        if name.startswith(CLAIM_PREFIX)
    ]
    return [claim for name in named if (claim := _claim_of_metric(name, measurement)) is not None]


def unverifiable_checks(claimed: Iterable[RobustnessClaim]) -> list[Check]:
    """The checks of claims that no battery can be held against; none where there is no such claim."""
    claimed = list(claimed)
    reasons = {
        name: [claim.reason for claim in claimed if claim.check == name]
        for name in UNVERIFIABLE_STATUSES
    }
    return [
        Check(name, UNVERIFIABLE_STATUSES[name], len(those), 0, len(claimed), "; ".join(those))
        for name, those in reasons.items()
        if those
    ]


def _claim_of_metric(name: str, measurement: Measurement) -> RobustnessClaim | None:
    stated = name.partition("@")[2]
    balls = sorted({(one.norm, one.eps) for one in measurement.examples if one.metric == name})
    radii = {eps for _, eps in balls}
    if radii <= {0} and (_stated_radius(stated) == 0 if stated else bool(radii)):
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


def _stated_radius(stated: str) -> float:
    """The radius that a name states after its @; not a number where it states none."""
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


def compare_outcomes(
    outcomes: Sequence[int],
    positions: Tensor,
    probes: Mapping[str, Tensor],
    *,
    battery: BatteryConfig,
) -> list[Check]:
    """The checks of one outcome metric.

    `more_steps` has the battery's own number of steps, 40 in the small and 100 in the full one, not twice those of the
    evaluation, which it knows nothing of: to PGD-50 and more it is another attack rather than a longer one.

    Args:
        outcomes: The evaluation's, one a test sample.
        positions: Which test samples the battery probed, ``(B,)``.
        probes: What became of these, ``(B,)`` by probe.
        battery: How much was done to find out.
    """
    claimed = torch.tensor(outcomes)[positions]
    missed = [
        _missed_check(name, claimed, probes[name], text)
        if name in probes
        else _not_applicable_check(name, text)
        for name, text in (
            (name, text.format(steps=battery.steps)) for name, text in MISSED_TEXTS.items()
        )
    ]
    return [
        _finished_check(outcomes),
        *([_eps_zero_check(claimed, next(iter(probes.values())))] if probes else []),
        *missed,
    ]


def _missed_check(name: str, claimed: Tensor, probe: Tensor, text: str) -> Check:
    hits = (claimed == Outcome.ROBUST) & (probe == Outcome.BROKEN)
    value = share_lower_bound(int(hits.sum()), len(hits))
    return Check(name, status_of_share(value), value, SUSPICIOUS_SHARE, len(hits), text)


def _not_applicable_check(name: str, text: str) -> Check:
    return Check(name, "not applicable", 0, SUSPICIOUS_SHARE, 0, text)


def _eps_zero_check(claimed: Tensor, probe: Tensor) -> Check:
    """With eps 0 an attack leaves exactly the clean accuracy: wrong is who is wrong without one."""
    wrong = probe == Outcome.WRONG
    odd = ((claimed == Outcome.WRONG) & ~wrong) | ((claimed == Outcome.ROBUST) & wrong)
    text = "samples whose prediction without attack the host finds otherwise"
    return Check("eps_zero", "fail" if odd.any() else "pass", int(odd.sum()), 0, len(odd), text)


def _finished_check(outcomes: Sequence[int]) -> Check:
    unknown = sum(one == Outcome.UNKNOWN for one in outcomes)
    value = share_lower_bound(unknown, len(outcomes))
    text = "lower bound of the share whose attack did not end, or gave an illegal example"
    return Check(
        "finished",
        "suspicious" if value > SUSPICIOUS_SHARE else "pass",
        value,
        SUSPICIOUS_SHARE,
        len(outcomes),
        text,
    )
