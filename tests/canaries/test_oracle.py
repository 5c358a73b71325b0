"""The exact oracle against brute force, and the attacks and the battery against the oracle."""

from __future__ import annotations

import math

import pytest
import torch

from advtransfer.host import Host
from advtransfer.testing.canaries.oracle import LinearClassifier, exact_robustness, plane_subject
from advtransfer.testing.canaries.score import examine_model
from advtransfer.types import Evaluation, Outcome
from advtransfer.worker.verification import ThreatModel, run_battery
from advtransfer.worker.verification.config import BATTERY_SIZES, Norm

NORMS: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 1.0}
"""Radii that take about half of the digits across."""

SLACK: dict[Norm, float] = {"linf": 0.0, "l2": 0.02, "l1": 0.05}
"""What PGD may leave: in l_2 and l_1 a step that the box cuts is not the best one, and some samples stand."""


def pgd(norm: Norm, eps: float) -> Evaluation:
    component = Host.discover().component("foolbox/pgd", "evaluation")
    built = component.build({"norm": norm, "eps": eps, "steps": 40, "step_size": eps / 8}, {})
    assert hasattr(built, "measure")
    return built


@pytest.mark.parametrize("norm", NORMS)
def test_the_worst_point_of_two_pixels_is_that_of_a_fine_grid(norm: Norm) -> None:
    plane = LinearClassifier(torch.tensor([2.0, -0.5]), torch.tensor(-0.4))
    inputs = torch.tensor([[0.9, 0.1], [0.05, 0.3], [0.5, 0.95], [0.2, 0.0]])
    labels = (plane(inputs)[:, 1] > 0).long()
    robust, worst = exact_robustness(plane, inputs, labels, norm=norm, eps=0.2)
    steps = torch.linspace(-0.2, 0.2, 801, dtype=torch.float64)
    ways = torch.cartesian_prod(steps, steps)
    ways = ways[ways.norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1) <= 0.2 + 1e-12]
    moved = inputs.double()[:, None] + ways
    inside = ((moved >= 0) & (moved <= 1)).all(2)
    height = moved @ plane.weight.double() + plane.bias.double()
    margin = torch.where(labels[:, None] == 1, height, -height).masked_fill(~inside, torch.inf)

    assert torch.allclose(margin.amin(1), worst, atol=2e-3)
    assert torch.equal(worst > 0, robust)


def test_a_margin_of_zero_is_not_robust() -> None:
    plane = LinearClassifier(torch.tensor([1.0]), torch.tensor(-0.5))
    robust, worst = exact_robustness(
        plane, torch.tensor([[0.75]]), torch.tensor([1]), norm="linf", eps=0.25
    )

    assert 0.0 == worst.item()
    assert not robust.item()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(3))
def test_an_evaluation_reports_the_exact_value_and_is_checked(norm: Norm, seed: int) -> None:
    eps = NORMS[norm]
    subject, exact = plane_subject(seed, norm=norm, eps=eps)
    seen = examine_model(pgd(norm, eps), subject, battery=BATTERY_SIZES["small"])

    assert 0.2 < exact < 0.8
    assert seen.claimed is not None
    assert exact <= seen.claimed <= exact + SLACK[norm]
    assert "checked" == seen.judged, seen.reason


@pytest.mark.parametrize("norm", NORMS)
def test_the_battery_breaks_exactly_the_samples_that_are_not_robust(norm: Norm) -> None:
    eps = NORMS[norm]
    subject, _ = plane_subject(4, norm=norm, eps=eps)
    found = run_battery(
        subject.model,
        subject.test,
        ThreatModel(norm, eps),
        BATTERY_SIZES["small"],
        device=torch.device("cpu"),
    )
    inputs, labels = subject.test.inputs(found.positions), subject.test.labels(found.positions)
    assert isinstance(subject.model, LinearClassifier)
    robust, worst = exact_robustness(subject.model, inputs, labels, norm=norm, eps=eps)
    stands = found.outcomes["targeted"] == Outcome.ROBUST
    near = worst.abs() < 1e-2 * worst.abs().median()

    assert bool((stands | ~robust).all())
    assert (robust[~near] != stands[~near]).sum() <= 1
