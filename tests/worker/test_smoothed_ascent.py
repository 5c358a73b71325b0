"""The ascent along smoothed gradients: on planes with a ripple, whose robustness is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.oracle import LinearClassifier, exact_robustness
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.types import Check, Outcome, Samples
from advtransfer.worker.process import deterministic_algorithms
from advtransfer.worker.verification import BatteryResult, ThreatModel, run_battery
from advtransfer.worker.verification.ascent import logits_and_gradient, targeted_margin_loss
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.config import BATTERY_SIZES, NORMS, Norm
from advtransfer.worker.verification.smoothed_ascent import compare_gradients, smoothed_ascent

CPU = torch.device("cpu")
PIXELS, IMAGES = 16, 60
RADII: dict[Norm, float] = {"linf": 0.1, "l2": 0.3, "l1": 1.0}
KEYS = list(range(IMAGES))
RIPPLE = 0.02
"""Amplitude of the ripple: images whose worst margin is farther from 0 keep their robustness."""


class Rippled(nn.Module):
    """A plane with a ripple on its logits, whose slope is a hundred times the plane's."""

    def __init__(self, plane: nn.Module, amplitude: float) -> None:
        super().__init__()
        self.plane = plane
        self.amplitude = amplitude

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits."""
        generator = torch.Generator().manual_seed(1)
        directions = 500 * torch.randn(PIXELS, generator=generator).to(inputs)
        ripple = self.amplitude / 2 * torch.sin(inputs.flatten(1) @ directions)
        logits: Tensor = self.plane(inputs) + torch.stack([-ripple, ripple], dim=1)
        return logits


def plane_and_images(norm: Norm) -> tuple[LinearClassifier, Samples]:
    """Return a plane and images at all distances from it, to twice the radius."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(PIXELS, generator=generator)
    images = 0.5 + 0.2 * (torch.rand(IMAGES, 1, 4, 4, generator=generator) - 0.5)
    reach = RADII[norm] * float(weight.norm(p={"linf": 1, "l2": 2, "l1": torch.inf}[norm]))
    heights = (images.flatten(1) - 0.5) @ weight
    wanted = torch.linspace(-2, 2, IMAGES) * reach
    images = images + ((wanted - heights)[:, None] * weight / weight.norm() ** 2).view_as(images)
    plane = LinearClassifier(weight, -0.5 * weight.sum())
    parts = (images, (wanted > 0).long())
    dataset = ArrayDataset({"train": parts, "test": parts}, names=["low", "high"])
    return plane, dataset.part("test")


def run(
    model: nn.Module, test: Samples, norm: Norm, device: torch.device = CPU
) -> tuple[BatteryResult, dict[str, Check]]:
    threat = ThreatModel(norm, RADII[norm])
    model = model.eval().to(device)
    result = run_battery(model, test, threat, BATTERY_SIZES["small"], device=device)
    return result, {check.name: check for check in result.checks}


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_a_plane_agree_and_those_of_a_ripple_do_not(norm: Norm) -> None:
    plane, test = plane_and_images(norm)
    positions = torch.arange(IMAGES)
    inputs, labels = test.inputs(positions), test.labels(positions)
    ball = Ball(ThreatModel(norm, RADII[norm]), (0.0, 1.0))
    smooth, rippled = (
        compare_gradients(
            model,
            inputs,
            labels,
            keys=KEYS,
            classes=1 - labels[:, None],
            at_image=logits_and_gradient(
                model, inputs, torch.stack([labels, 1 - labels], dim=1), targeted_margin_loss
            )[1],
            ball=ball,
        )
        for model in (plane, Rippled(plane, 1.0))
    )

    assert torch.allclose(smooth.coherence, torch.ones(IMAGES), atol=1e-5)
    assert torch.allclose(smooth.agreement, torch.ones(IMAGES), atol=1e-5)
    assert torch.equal(smooth.classes, 1 - labels[:, None])
    assert (rippled.coherence < 0.9).double().mean() > 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_a_ripple_hides_no_sample_that_the_plane_below_it_loses(norm: Norm) -> None:
    plane, test = plane_and_images(norm)
    result, checks = run(Rippled(plane, RIPPLE), test, norm)
    positions = result.positions
    robust, worst = exact_robustness(
        plane, test.inputs(positions), test.labels(positions), norm=norm, eps=RADII[norm]
    )
    broken = torch.stack([values == Outcome.BROKEN for values in result.outcomes.values()]).any(0)
    attacked = result.outcomes["targeted"] != Outcome.WRONG
    # A tenth of the reach of the ball is more than the ripple can hide or feign.
    is_sure = attacked & (worst.abs() > 0.1 * worst.abs().max())

    assert not broken[is_sure & robust].any()
    assert broken[is_sure & ~robust].double().mean() > 0.95
    if norm != "l1":  # Its vertices get through this ripple.
        assert (result.outcomes["smoothed"] == Outcome.BROKEN).sum() > 5
        assert "suspicious" == checks["smoothed"].grade


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_is_left_alone(norm: Norm) -> None:
    plane, test = plane_and_images(norm)
    result, checks = run(plane, test, norm)

    assert not (result.outcomes["smoothed"] == Outcome.BROKEN).any()
    assert ("pass", 0) == (checks["smoothed"].grade, checks["smoothed"].value)


@pytest.mark.parametrize("norm", NORMS)
def test_points_depend_on_the_sample_alone_and_stay_in_ball_and_box(norm: Norm) -> None:
    plane, test = plane_and_images(norm)
    model = Rippled(plane, RIPPLE)
    inputs, labels = test.inputs(torch.arange(IMAGES)), test.labels(torch.arange(IMAGES))
    ball = Ball(ThreatModel(norm, RADII[norm]), (0.0, 1.0))

    def ascend(rows: Tensor) -> tuple[Tensor, Tensor]:
        return smoothed_ascent(
            model,
            inputs[rows],
            labels[rows],
            1 - labels[rows],
            keys=rows.tolist(),
            ball=ball,
            steps=4,
            draws=5,
            scale=1.0,
            what="test",
        )

    points, broken = ascend(torch.arange(IMAGES))
    some = torch.arange(IMAGES).flip(0)[::3]
    again, broken_again = ascend(some)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    lengths = (points - inputs).double().flatten(1).norm(p=order, dim=1)

    assert broken.any()
    assert torch.equal(broken[some], broken_again)
    assert torch.allclose(points[some], again, atol=1e-6)
    assert lengths.max() <= RADII[norm] * (1 + 1e-5)
    assert points.min() >= 0
    assert points.max() <= 1
    assert (model(points).argmax(1) != labels)[broken].all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gpu_gives_what_the_cpu_does(norm: Norm) -> None:
    plane, test = plane_and_images(norm)
    expected, _ = run(Rippled(plane, RIPPLE), test, norm)
    with pretend_cuda(), deterministic_algorithms():
        seen, _ = run(Rippled(plane, RIPPLE), test, norm, torch.device("cuda"))

    assert (expected.outcomes["smoothed"] == Outcome.BROKEN).any()
    for attack, outcomes in expected.outcomes.items():
        assert torch.equal(outcomes, seen.outcomes[attack])
