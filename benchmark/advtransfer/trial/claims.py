"""What an evaluation claims of robustness: in which ball each claim is held against a battery, or why it cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from advtransfer.trial.battery.design import NORMS, Threat
from advtransfer.types import Check, Grade, Measurement

CLAIM = "robust_accuracy"
"""Metrics whose name begins so are held against a battery; others are shown as an attack, and never verified."""

UNHELD: dict[str, Grade] = {"claims": "suspicious", "claimed_radius": "fail"}
"""What claims that are held against no battery are worth: one without proof is doubted, one of another radius refused.

A plugin must not get round the battery by giving less, and so be left unchecked, which is ranked.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A robust accuracy; held in the ball of its examples, or in none.

    Args:
        metric: Its name.
        threat: The ball; None where it cannot be held.
        check: Which of `UNHELD` it then fails.
        reason: Why, in words.
    """

    metric: str
    threat: Threat | None = None
    check: str = ""
    reason: str = ""


def claims(measurement: Measurement) -> list[Claim]:
    """The claims among an evaluation's metrics, in their order; those of a radius of 0 claim nothing."""
    named = [name for name in (*measurement.outcomes, *measurement.metrics) if name.startswith(CLAIM)]
    return [claim for name in named if (claim := _claim(name, measurement)) is not None]


def unheld(claimed: Iterable[Claim]) -> list[Check]:
    """The checks of claims that no battery can be held against; none where there is no such claim."""
    claimed = list(claimed)
    reasons = {name: [claim.reason for claim in claimed if claim.check == name] for name in UNHELD}
    return [
        Check(name, UNHELD[name], len(those), 0, len(claimed), "; ".join(those))
        for name, those in reasons.items()
        if those
    ]


def _claim(name: str, measurement: Measurement) -> Claim | None:
    stated = name.partition("@")[2]
    balls = sorted({(one.norm, one.eps) for one in measurement.examples if one.metric == name})
    radii = {eps for _, eps in balls}
    if radii <= {0} and (_radius(stated) == 0 if stated else bool(radii)):
        return None
    if name not in measurement.outcomes:
        return Claim(name, check="claims", reason=f"{name} is a bare number, without outcomes of samples")
    if len(balls) != 1:
        found = f"examples in {len(balls)} balls" if balls else "no examples"
        expected = "those of one, of no sample where it broke none"
        return Claim(name, check="claims", reason=f"{name} has {found}, where expected are {expected}")
    norm, eps = balls[0]
    if stated and f"{_radius(stated):g}" != f"{eps:g}":
        return Claim(name, check="claimed_radius", reason=f"{name} has examples within {eps:g}")
    if norm not in NORMS:
        return Claim(name, check="claims", reason=f"{name} is of norm {norm}, in which the host has no attack")
    return Claim(name, Threat(norm, eps))


def _radius(stated: str) -> float:
    """The radius that a name states after its @; not a number where it states none."""
    try:
        return float(Fraction(stated))
    except (ValueError, ArithmeticError):
        return float("nan")
