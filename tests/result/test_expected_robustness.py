"""The area under accuracy over eps: of a step function, of a linear model, and with what a battery broke."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import trapezoid

from advtransfer.result.expected_robustness import expected_robustness, weighted_samples
from advtransfer.result.outcomes import SampleOutcomes, outcomes_from_values, samples_at
from advtransfer.statistics import accuracy_weights
from advtransfer.types import Outcome

R, B, W, U = Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG, Outcome.UNKNOWN


def outcomes(values: dict[float, list[Outcome]]) -> dict[str, SampleOutcomes]:
    return {f"robust_accuracy@{eps:g}": outcomes_from_values(each) for eps, each in values.items()}


def test_area_of_a_step_function_is_where_it_steps() -> None:
    """Accuracy 1 up to eps 0.2 and 0 from 0.3 on: the rule puts the step in the middle, at 0.25."""
    radii = [0.1, 0.2, 0.3, 0.4, 0.5]
    stepped = outcomes({eps: [R if eps < 0.25 else B] * 4 for eps in radii})

    assert expected_robustness(stepped) == pytest.approx((0.25 / 0.5, 0.25 / 0.5))


def test_area_is_the_integral_of_the_curve_from_the_accuracy_without_attack() -> None:
    """Radii in any order, with uneven steps; one of four images is wrong without attack."""
    curve = outcomes({0.3: [R, B, B, W], 0.05: [R, R, R, W], 0.1: [R, R, B, W]})
    expected = trapezoid([0.75, 0.75, 0.5, 0.25], [0.0, 0.05, 0.1, 0.3]) / 0.3

    assert expected_robustness(curve) == pytest.approx((expected, expected))


def test_area_of_a_linear_model_is_its_mean_distance_to_the_boundary() -> None:
    """E_eps[1{d > eps}] for eps uniform on [0, top] is E[min(d, top)] / top."""
    distances = np.random.default_rng(0).uniform(0, 0.2, 500)
    top, count = 0.15, 200
    radii = [top * (step + 1) / count for step in range(count)]
    curve = outcomes({eps: [R if d > eps else B for d in distances] for eps in radii})
    area = expected_robustness(curve)

    assert area is not None
    assert area[0] == pytest.approx(np.minimum(distances, top).mean() / top, abs=1 / count)


def test_unknown_outcomes_are_the_range_and_images_have_the_area_as_mean() -> None:
    curve = outcomes({0.1: [R, U, B, W], 0.2: [U, U, B, W]})
    area = expected_robustness(curve)
    assert area is not None
    # Weights 1/4, 1/2 and 1/4 of radii 0, 0.1 and 0.2.
    assert [*area] == pytest.approx([0.25 * 3 / 4 + 0.5 / 4, 0.25 * 5 / 4 + 0.5 / 2])

    parts = list(weighted_samples(curve))
    assert sum(part.weight for part in parts) == pytest.approx(1)
    assert sum(part.weight * part.low.bit_count() for part in parts) / 4 == pytest.approx(area[0])


def test_breaks_of_a_battery_lower_the_area_by_their_weight() -> None:
    curve = outcomes({0.1: [R] * 4, 0.2: [R] * 4})
    curve["robust_accuracy@0.2"] = curve["robust_accuracy@0.2"].with_broken(samples_at([1], 4))

    assert expected_robustness(curve) == pytest.approx((1 - 0.25 / 4, 1 - 0.25 / 4))


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["robust_accuracy@0.1"],
        ["robust_accuracy@0", "robust_accuracy@0.1"],
        ["robust_accuracy", "robust_accuracy@5", "robust_accuracy@10"],
        ["robust_accuracy@0.1@5", "robust_accuracy@0.1@10", "robust_accuracy@0.1"],
        ["accuracy@0.1", "accuracy@0.2"],
        ["robust_accuracy@0.1", "robust_accuracy@nan", "robust_accuracy@inf", "robust_accuracy@-1"],
        ["robust_accuracy_linf@0.1", "robust_accuracy_l2@0.5"],
    ],
)
def test_one_radius_snapshots_and_other_metrics_have_no_area(names: list[str]) -> None:
    assert accuracy_weights(names) == {}
    assert expected_robustness({name: outcomes_from_values([R]) for name in names}) is None


def test_weights_lack_to_one_what_the_accuracy_without_attack_has() -> None:
    weights = accuracy_weights(["robust_accuracy@0.1", "robust_accuracy@0.4", "clean_accuracy"])

    assert weights == pytest.approx({"robust_accuracy@0.1": 0.5, "robust_accuracy@0.4": 0.375})
    assert math.isclose(1 - sum(weights.values()), 0.1 / 0.8)
