"""The ascent among points like the data: on planes that answer these and all others with other weights."""

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
from advtransfer.worker.verification.data_support import (
    DataSupport,
    round_inside,
    shared_values,
    supports_of,
    used_pixels,
)
from advtransfer.worker.verification.rounded_ascent import rounded_ascent

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


def are(expected: Tensor, values: Tensor | None) -> bool:
    return values is not None and torch.equal(expected, values)


def test_values_are_those_that_two_images_and_some_of_many_have() -> None:
    eighths = torch.randint(0, 9, (200, 1, 3, 3), generator=torch.Generator().manual_seed(0)) / 8
    continuous = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    few_scaled = eighths.clone()
    few_scaled[:4] *= 0.97
    background = continuous.masked_fill(continuous < 0.5, 0)

    assert are(torch.arange(9) / 8, shared_values(eighths))
    assert are(torch.arange(9) / 8, shared_values(eighths[:20]))
    assert are(torch.arange(9) / 8, shared_values(few_scaled))
    assert shared_values(continuous) is None
    assert shared_values(background) is None
    assert shared_values(eighths[:1]) is None


def test_half_precision_and_scaled_data_have_their_values_too() -> None:
    bytes_ = torch.randint(0, 256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    halves = (bytes_ / 255).half().float()
    scaled = (bytes_ / 255 - 0.45) / 0.22

    for images in (halves, scaled):
        assert are(torch.unique(images), shared_values(images))


@pytest.mark.parametrize("norm", NORMS)
def test_each_channel_is_rounded_to_its_own_values(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    steps = torch.randint(0, 11, (40, 2, 4, 4), generator=generator)
    scale = torch.tensor([0.1, 0.07]).view(1, 2, 1, 1)
    images = steps * scale
    ball = Ball(ThreatModel(norm, {"linf": 0.15, "l2": 0.5, "l1": 1.0}[norm]), BOUNDS)
    (support,) = supports_of(images, ball)
    noise = torch.rand(images.shape, generator=generator) - 0.5
    points = support.restrict(ball.project_back(images + noise, images), images, ball=ball)

    assert support.values is not None
    for channel, values in enumerate(support.values):
        assert are(torch.unique(images[:, channel]), values)
        assert torch.isin(points[:, channel], values).all()
        assert (points != images)[:, channel].any()
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    lengths = (points - images).double().flatten(1).norm(p=order, dim=1)
    assert lengths.max() <= ball.threat.eps + 1e-6


def test_pixels_are_unused_that_nearly_all_images_have_alike() -> None:
    images = torch.rand(200, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    images[:, :, 0] = 0.25
    images[:2, :, 0, 0] = 1  # in 1 % of the images
    images[:3, :, 0, 1] = 1
    expected = torch.ones(1, 3, 3, dtype=torch.bool)
    expected[:, 0, [0, 2]] = False

    assert are(expected, used_pixels(images))
    assert used_pixels(images[:, :, 1:]) is None
    assert used_pixels(images[:1]) is None


def test_points_keep_unused_pixels_and_an_image_with_other_values_is_not_rounded() -> None:
    _, _, test = planes_and_images()
    inputs = test.inputs(torch.arange(IMAGES))
    inputs[3] = inputs[3] * 0.97
    ball = Ball(ThreatModel("linf", RADII["linf"]), BOUNDS)
    points = ball.project_back(inputs + 0.05, inputs)
    used = torch.ones(inputs.shape[1:], dtype=torch.bool)
    used[:, :, 0] = False
    values = torch.arange(LEVELS + 1) / LEVELS
    restricted = DataSupport((values,), used).restrict(points, inputs, ball=ball)

    assert torch.equal(inputs[:, :, :, 0], restricted[:, :, :, 0])
    assert torch.equal(points[3, :, :, 1:], restricted[3, :, :, 1:])
    assert torch.isin(restricted[4:], values).all()
    assert (restricted[4:, :, :, 1:] > inputs[4:, :, :, 1:]).float().mean() > 0.9


def test_a_radius_below_a_level_restricts_no_values() -> None:
    _, _, test = planes_and_images()
    inputs = test.inputs(torch.arange(IMAGES))

    def values_in(eps: float) -> bool:
        return any(
            each.values is not None
            for each in supports_of(inputs, Ball(ThreatModel("linf", eps), BOUNDS))
        )

    assert values_in(1 / LEVELS)
    assert not values_in(0.9 / LEVELS)


@pytest.mark.parametrize("norm", NORMS)
def test_rounded_points_lie_on_the_levels_in_ball_and_box(norm: Norm) -> None:
    _, _, test = planes_and_images()
    inputs = test.inputs(torch.arange(IMAGES))
    ball = Ball(ThreatModel(norm, RADII[norm]), BOUNDS)
    noise = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    points = ball.project_back(inputs + noise, inputs)
    values = torch.arange(LEVELS + 1) / LEVELS
    rounded = round_inside(points, inputs, ball=ball, values=(values,))
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


def test_without_restriction_the_ascent_is_a_plain_one() -> None:
    plane, _, test = planes_and_images()
    inputs, labels = test.inputs(torch.arange(IMAGES)), test.labels(torch.arange(IMAGES))
    ball = Ball(ThreatModel("linf", 0.5 / LEVELS), BOUNDS)
    _, broken = rounded_ascent(
        plane, inputs, labels, 1 - labels, ball=ball, support=DataSupport(), steps=5, scale=1.0
    )
    weight = plane.weight.flatten()
    heights = (inputs.flatten(1) - 0.5) @ weight * (2 * labels - 1)

    assert torch.equal(broken, heights < 0.5 * weight.abs().sum() / LEVELS)


class PixelDetector(Detector):
    """A plane where the pixels that no image uses are as ever; elsewhere one that no attack turns."""

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits."""
        is_usual = (inputs[:, 0, 7, :4] == 0).all(1)
        return torch.where(is_usual[:, None], self.plane(inputs), self.guard(inputs))


def with_border(test: Samples) -> Samples:
    images, labels = test.inputs(torch.arange(IMAGES)), test.labels(torch.arange(IMAGES))
    images[:, 0, 7, :4] = 0
    dataset = ArrayDataset(
        {"train": (images, labels), "test": (images, labels)}, names=["low", "high"]
    )
    return dataset.part("test")


@pytest.mark.parametrize("norm", NORMS)
def test_a_detector_of_unused_pixels_falls_as_its_plane_does(norm: Norm) -> None:
    plane, guard, test = planes_and_images()
    bordered = with_border(test)
    border = torch.zeros(8, 8)
    border[7, :4] = 1
    weight = plane.weight * (1 - border.flatten())
    # A slope too small to turn an image, along which every plain step leaves the data.
    sloped = LinearClassifier(weight + 1e-4 * border.flatten(), plane.bias)
    expected, _ = run(LinearClassifier(weight, plane.bias), bordered, norm)
    seen, checks = run(PixelDetector(sloped, guard), bordered, norm)
    fallen, guarded = (
        torch.stack([values == Outcome.BROKEN for values in result.outcomes.values()]).any(0)
        for result in (expected, seen)
    )

    assert torch.equal(fallen, guarded)
    if norm != "l1":  # There a vertex moves few pixels, the steepest.
        assert "suspicious" == checks["rounded"].grade


def test_a_detector_by_levels_is_found_where_one_image_has_others() -> None:
    plane, guard, test = planes_and_images()
    images, labels = test.inputs(torch.arange(IMAGES)), test.labels(torch.arange(IMAGES))
    images[7] = images[7] * 0.98
    strayed = ArrayDataset(
        {"train": (images, labels), "test": (images, labels)}, names=["low", "high"]
    )
    _, checks = run(Detector(plane, guard), strayed.part("test"), "linf")

    assert "suspicious" == checks["rounded"].grade


@pytest.mark.parametrize("detector", [Detector, PixelDetector])
@pytest.mark.parametrize("norm", NORMS)
def test_a_gpu_gives_what_the_cpu_does(norm: Norm, detector: type[Detector]) -> None:
    plane, guard, test = planes_and_images()
    bordered = with_border(test)
    expected, _ = run(detector(plane, guard), bordered, norm)
    with pretend_cuda(), deterministic_algorithms():
        seen, _ = run(detector(plane, guard), bordered, norm, torch.device("cuda"))

    if norm != "l1":  # There a vertex moves few pixels, the steepest.
        assert (expected.outcomes["rounded"] == Outcome.BROKEN).any()
    for attack, outcomes in expected.outcomes.items():
        assert torch.equal(outcomes, seen.outcomes[attack])
