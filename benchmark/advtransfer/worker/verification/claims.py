"""Claims of robust accuracy.

The ball that each is verified in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from advtransfer.types import Check, CheckStatus, Measurement
from advtransfer.types.metric_names import CLAIM_PREFIX
from advtransfer.worker.verification.config import NORMS, ThreatModel

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
