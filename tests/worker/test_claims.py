"""Claims of robustness: verified in a ball, or refused with a reason, however little is shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from advtransfer.result.verdict import verdict_from_checks
from advtransfer.types import Examples, Measurement
from advtransfer.worker.verification import ThreatModel
from advtransfer.worker.verification.claims import (
    RobustnessClaim,
    robustness_claims,
    unverifiable_checks,
)

OUTCOMES = torch.zeros(4, dtype=torch.uint8)


def none(metric: str, norm: str, eps: float) -> Examples:
    """Examples of a metric, of no sample."""
    return Examples(metric, norm, eps, torch.arange(0), torch.zeros(0, 1, 2, 2))  # type: ignore[arg-type]  # parametrised


def claimed(
    *outcomes: str, examples: Sequence[Examples] = (), **metrics: float
) -> list[RobustnessClaim]:
    return robustness_claims(
        Measurement(outcomes=dict.fromkeys(outcomes, OUTCOMES), metrics=metrics, examples=examples)
    )


@pytest.mark.parametrize(
    "metric", ["robust_accuracy", "robust_accuracy@0.1", "robust_accuracy@1/10"]
)
def test_claim_is_verified_in_the_ball_of_its_examples(metric: str) -> None:
    found = claimed("accuracy", metric, examples=[none(metric, "l2", 0.1), none(metric, "l2", 0.1)])

    assert [RobustnessClaim(metric, ThreatModel("l2", 0.1))] == found
    assert [] == unverifiable_checks(found)


def test_radius_in_a_name_is_compared_as_rounded() -> None:
    metric = "robust_accuracy@0.0313725"

    assert [RobustnessClaim(metric, ThreatModel("linf", 8 / 255))] == claimed(
        metric, examples=[none(metric, "linf", 8 / 255)]
    )


@pytest.mark.parametrize(
    ("metric", "examples"),
    [
        ("accuracy@0.1", []),
        ("robust_accuracy@0", []),
        ("robust_accuracy@0", [("linf", 0.0)]),
        ("robust_accuracy", [("linf", 0.0)]),
    ],
)
def test_other_metrics_and_radius_0_claim_nothing(
    metric: str, examples: list[tuple[str, float]]
) -> None:
    assert [] == claimed(metric, examples=[none(metric, *ball) for ball in examples])


@pytest.mark.parametrize(
    ("metric", "examples", "check", "words"),
    [
        ("robust_accuracy@0.3", [], "claims", "no examples"),
        ("robust_accuracy", [], "claims", "no examples"),
        ("robust_accuracy@0.3", [("l0", 0.3)], "claims", "norm l0"),
        ("robust_accuracy@0.3", [("linf", 0.3), ("l2", 0.3)], "claims", "examples in 2 balls"),
        ("robust_accuracy@0.3", [("linf", 0.001)], "claimed_radius", "within 0.001"),
        ("robust_accuracy@0.3", [("linf", 0.0)], "claimed_radius", "within 0"),
        ("robust_accuracy@most", [("linf", 0.3)], "claimed_radius", "within 0.3"),
    ],
)
def test_unverifiable_claim_is_never_ranked(
    metric: str, examples: list[tuple[str, float]], check: str, words: str
) -> None:
    found = claimed(metric, examples=[none(metric, *ball) for ball in examples])
    (bad,) = unverifiable_checks(found)
    judged = verdict_from_checks([bad])

    assert [None] == [claim.threat for claim in found]
    assert (check, 1, 1) == (bad.name, bad.value, bad.samples)
    assert f"{metric} " in bad.text
    assert words in bad.text
    assert {"claims": "suspicious", "claimed_radius": "invalid"}[check] == judged.value
    assert not judged.is_ranked


def test_bare_number_is_an_unverifiable_claim() -> None:
    (bad,) = unverifiable_checks(claimed(robust_accuracy=0.9))

    assert ("claims", "suspicious") == (bad.name, bad.grade)
    assert "robust_accuracy is a bare number" in bad.text


def test_verified_claim_does_not_cover_another() -> None:
    held, other = "robust_accuracy@0.1", "robust_accuracy@0.3"
    found = claimed(held, other, examples=[none(held, "linf", 0.1)])

    assert [ThreatModel("linf", 0.1), None] == [claim.threat for claim in found]
    assert [("claims", 1, 2)] == [
        (bad.name, bad.value, bad.samples) for bad in unverifiable_checks(found)
    ]
