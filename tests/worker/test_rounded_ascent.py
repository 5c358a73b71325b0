"""The ascent on the data's levels: on planes that answer the data and the points between with other weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.oracle import LinearClassifier
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.types import Check, Outcome, Samples
from advtransfer.worker.process import deterministic_algorithms
from advtransfer.worker.verification import BatteryResult, ThreatModel, run_battery
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.config import BATTERY_SIZES, NORMS, Norm
from advtransfer.worker.verification.rounded_ascent import (
    data_levels,
    round_inside,
    rounded_ascent,
)

CPU = torch.device("cpu")
LEVELS, PIXELS, IMAGES = 16, 64, 80
RADII: dict[Norm, float] = {"linf": 1.5 / LEVELS, "l2": 6.0 / LEVELS, "l1": 6.0 / LEVELS}
BOUNDS = (0.0, 1.0)


class Detector(nn.Module):
    """A plane on the levels; between them another that no attack of these radii turns."""

    def __init__(self, plane: LinearClassifier, guard: LinearClassifier) -> None:
        super().__init__()
        self.plane, self.guard = plane, guard

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits."""
        steps = inputs.flatten(1) * LEVELS
        on_levels = ((steps - steps.round()).abs() < 1e-3).all(1)
        return torch.where(on_levels[:, None], self.plane(inputs), self.guard(inputs))


def planes_and_images() -> tuple[LinearClassifier, LinearClassifier, Samples]:
    """Return a plane with weights of one size, a guard by the first pixel, and images that both class alike."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(5, 12, (IMAGES, PIXELS), generator=generator)
    weight = 1.0 - 2 * (torch.arange(PIXELS) % 2)
    weight[0] = 0
    # The height of an image, in levels: the l_inf ball's one step moves it by 63.
    heights = (torch.arange(IMAGES) - IMAGES // 2) * 3 + 1
    for row, height in enumerate(heights.tolist()):
        for pixel in range(1, PIXELS):
            lacking = height - int((levels[row] - 8).to(weight) @ weight)
            move = int(weight[pixel]) * max(-4, min(4, lacking))
            levels[row, pixel] = (levels[row, pixel] + move).clamp(0, 16)
    labels = (heights > 0).long()
    levels[:, 0] = LEVELS * labels
    images = (levels / LEVELS).view(IMAGES, 1, 8, 8)
    guard_weight = torch.zeros(PIXELS)
    guard_weight[0] = 1
    dataset = ArrayDataset(
        {"train": (images, labels), "test": (images, labels)}, names=["low", "high"]
    )
    plane = LinearClassifier(weight, -0.5 * weight.sum())
    return plane, LinearClassifier(guard_weight, torch.tensor(-0.5)), dataset.part("test")


def run(
    model: nn.Module, test: Samples, norm: Norm, device: torch.device = CPU
) -> tuple[BatteryResult, dict[str, Check]]:
    threat = ThreatModel(norm, RADII[norm])
    model = model.eval().to(device)
    result = run_battery(model, test, threat, BATTERY_SIZES["small"], device=device)
    return result, {check.name: check for check in result.checks}


def test_levels_are_the_fewest_that_hold_all_pixels() -> None:
    eighths = torch.tensor([0, 0.125, 0.5, 1]).view(1, 1, 2, 2)

    assert 8 == data_levels(eighths, BOUNDS)
    assert 1 == data_levels(eighths.round(), BOUNDS)
    assert 255 == data_levels(torch.arange(256) / 255, BOUNDS)
    assert 16 == data_levels(torch.arange(17) / 8 - 1, (-1.0, 1.0))
    assert data_levels(torch.rand(100, generator=torch.Generator().manual_seed(0)), BOUNDS) is None
    assert data_levels(eighths, None) is None


@pytest.mark.parametrize("norm", NORMS)
def test_rounded_points_lie_on_the_levels_in_ball_and_box(norm: Norm) -> None:
    _, _, test = planes_and_images()
    inputs = test.inputs(torch.arange(IMAGES))
    ball = Ball(ThreatModel(norm, RADII[norm]), BOUNDS)
    noise = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    points = ball.project_back(inputs + noise, inputs)
    rounded = round_inside(points, inputs, ball=ball, levels=LEVELS)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    lengths = (rounded - inputs).double().flatten(1).norm(p=order, dim=1)

    assert torch.equal(rounded * LEVELS, (rounded * LEVELS).round())
    assert lengths.max() <= RADII[norm] * (1 + 1e-6)
    assert rounded.min() >= 0
    assert rounded.max() <= 1
    assert (lengths > 0.5 * RADII[norm]).all()


def test_in_linf_exactly_the_images_fall_that_one_level_turns() -> None:
    plane, guard, test = planes_and_images()
    result, checks = run(Detector(plane, guard), test, "linf")
    inputs, labels = test.inputs(result.positions), test.labels(result.positions)
    weight = plane.weight.flatten()
    heights = (inputs.flatten(1) - 0.5) @ weight * (2 * labels - 1)
    can_fall = heights < weight.abs().sum() / LEVELS

    assert torch.equal(can_fall, result.outcomes["rounded"] == Outcome.BROKEN)
    assert 20 < can_fall.sum() < 60
    assert not (result.outcomes["targeted"] == Outcome.BROKEN).any()
    assert "suspicious" == checks["rounded"].grade


@pytest.mark.parametrize(("norm", "reach"), [("l2", 36), ("l1", 6)])
def test_in_other_norms_all_images_fall_that_the_ball_s_whole_steps_turn(
    norm: Norm, reach: int
) -> None:
    plane, guard, test = planes_and_images()
    result, checks = run(Detector(plane, guard), test, norm)
    inputs, labels = test.inputs(result.positions), test.labels(result.positions)
    heights = LEVELS * ((inputs.flatten(1) - 0.5) @ plane.weight.flatten()) * (2 * labels - 1)
    fallen = torch.stack([values == Outcome.BROKEN for values in result.outcomes.values()]).any(0)

    assert torch.equal(heights < reach, fallen)
    if norm == "l2":  # In l_1 the step to a vertex moves one pixel, by nearly whole levels.
        assert (result.outcomes["rounded"] == Outcome.BROKEN).sum() > 0.9 * fallen.sum()
        assert "suspicious" == checks["rounded"].grade


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_is_left_alone(norm: Norm) -> None:
    plane, _, test = planes_and_images()
    result, checks = run(plane, test, norm)

    assert not (result.outcomes["rounded"] == Outcome.BROKEN).any()
    assert ("pass", 0) == (checks["rounded"].grade, checks["rounded"].value)


def test_without_levels_or_room_for_a_step_the_ascent_is_a_plain_one() -> None:
    plane, _, test = planes_and_images()
    inputs, labels = test.inputs(torch.arange(IMAGES)), test.labels(torch.arange(IMAGES))
    ball = Ball(ThreatModel("linf", 0.5 / LEVELS), BOUNDS)
    without, with_room = (
        rounded_ascent(
            plane, inputs, labels, 1 - labels, ball=ball, levels=levels, steps=5, scale=1.0
        )
        for levels in (None, LEVELS)
    )
    weight = plane.weight.flatten()
    heights = (inputs.flatten(1) - 0.5) @ weight * (2 * labels - 1)

    assert torch.equal(without[0], with_room[0])
    assert torch.equal(without[1], heights < 0.5 * weight.abs().sum() / LEVELS)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gpu_gives_what_the_cpu_does(norm: Norm) -> None:
    plane, guard, test = planes_and_images()
    expected, _ = run(Detector(plane, guard), test, norm)
    with pretend_cuda(), deterministic_algorithms():
        seen, _ = run(Detector(plane, guard), test, norm, torch.device("cuda"))

    assert (expected.outcomes["rounded"] == Outcome.BROKEN).any()
    for attack, outcomes in expected.outcomes.items():
        assert torch.equal(outcomes, seen.outcomes[attack])
