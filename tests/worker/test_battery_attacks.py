"""Attacks of a battery on whole models: their use of memory, and saturated models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.rng import Words
from advtransfer.types import Check, Outcome, Part, Shape
from advtransfer.worker.verification import (
    BatteryConfig,
    BatteryResult,
    ThreatModel,
    battery_attacks,
    run_battery,
)
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.battery_attacks import BatteryAttacks, ProbeBatch
from advtransfer.worker.verification.config import BATTERY_SIZES, Norm
from advtransfer.worker.verification.targeted_ascent import attack_by_targeted_ascent

TEST = toy(classes=2, train=4, test=70, shape=(1, 2, 2), noise=0.45).part("test")
CPU = torch.device("cpu")


class Plane(nn.Module):
    """Tells the two patterns apart by the pixels that mark them."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits."""
        return self.scale * inputs.flatten(1)[:, :2]


class Scaled(nn.Module):
    """A network with its logits scaled."""

    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits."""
        logits: Tensor = self.scale * self.network(inputs)
        return logits


QUICK = BatteryConfig(noise_draws=20, steps=5, unbounded_steps=1, derivative_samples=1)


def run(
    model: nn.Module, battery: BatteryConfig, *, norm: Norm = "linf", eps: float = 0.1
) -> BatteryResult:
    return run_battery(model.eval(), TEST, ThreatModel(norm, eps), battery, device=CPU)


def before_the_ascent(
    model: nn.Module, battery: BatteryConfig, *, norm: Norm = "linf", eps: float
) -> BatteryAttacks:
    """Attacks that try every sample that the model classifies correctly, since nothing broke any yet."""
    positions = torch.arange(len(TEST))
    batch = ProbeBatch.at_positions(TEST, positions, CPU)
    correct = model(batch.inputs).argmax(1) == batch.labels
    ball = Ball(ThreatModel(norm, eps), TEST.card.bounds)
    attacks = BatteryAttacks(model.eval(), TEST, positions, batch, ball, battery, correct)
    attacks.start_outcomes("targeted")
    return attacks


def broken_by_noise(battery: BatteryConfig, *, norm: Norm = "linf", eps: float) -> Tensor:
    attacks = before_the_ascent(Plane(), battery, norm=norm, eps=eps)
    attacks.attack_by_noise()
    return attacks.outcomes["noise"] == Outcome.BROKEN


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("block", [1, 4 * 50, 3 * 4 * 50])
def test_noise_blocks_change_no_outcome(
    norm: Norm, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    surface = Ball.surface_points

    def counted(self: Ball, keys: Words, shape: Shape, *, what: str, draws: int) -> Tensor:
        points = surface(self, keys, shape, what=what, draws=draws)
        held.append(points.numel())
        return points

    monkeypatch.setattr(Ball, "surface_points", counted)
    many = BatteryConfig(noise_draws=50)
    whole = broken_by_noise(many, norm=norm, eps=0.5)
    monkeypatch.setattr(battery_attacks, "NOISE_BLOCK_VALUES", block)
    held.clear()
    found = broken_by_noise(many, norm=norm, eps=0.5)

    assert whole.equal(found)
    assert found.any()
    assert not found.all()
    assert max(held) <= max(block, 4 * 50)
    assert len(held) > 1


def test_noise_breaks_the_samples_that_any_draw_breaks() -> None:
    inputs, labels = TEST.inputs(torch.arange(70)), TEST.labels(torch.arange(70))
    ball = Ball(ThreatModel("linf", 0.4), (0.0, 1.0))
    draws = ball.surface_points(TEST.keys, TEST.card.shape, what="noise", draws=7).unbind(1)
    fooled = torch.stack(
        [Plane()(ball.project_back(inputs + draw, inputs)).argmax(1) != labels for draw in draws]
    ).any(0)
    right = Plane()(inputs).argmax(1) == labels

    assert torch.equal(right & fooled, broken_by_noise(BatteryConfig(noise_draws=7), eps=0.4))


def test_other_attacks_try_what_the_ascent_left() -> None:
    found = run(Plane(), QUICK, eps=0.4)
    broken = {name: values == Outcome.BROKEN for name, values in found.outcomes.items()}
    inputs, labels = TEST.inputs(found.positions), TEST.labels(found.positions)
    # A plane falls exactly where its margin is below what all pixels together can change.
    gap = inputs.flatten(1)[:, 0] - inputs.flatten(1)[:, 1]
    margin = torch.where(labels == 0, gap, -gap)

    assert torch.equal((margin > 0) & (margin < 0.8), broken.pop("targeted"))
    assert not any(values.any() for values in broken.values())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_examples_count_only_after_the_check_of_norm_box_and_label(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, bool]:
        attacks = before_the_ascent(Plane(), QUICK, norm=norm, eps=0.5)
        attacks.look_at_images(Plane()(attacks.batch.inputs))
        attacks.start_outcomes("targeted")
        attacks.attack_by_noise()
        attacks.attack_in_single_step()
        swapped = attacks.batch.inputs.clone()
        swapped[:, :, 0] = swapped[:, :, 0].flip(2)
        attacks.attack_by_transfer(swapped)
        attack_by_targeted_ascent(attacks)
        return {
            name: bool((values == Outcome.BROKEN).any())
            for name, values in attacks.outcomes.items()
        }

    assert all(broken().values())
    project = Ball.project_back
    monkeypatch.setattr(
        Ball, "project_back", lambda self, points, inputs: project(self, points, inputs) + 1.1
    )
    monkeypatch.setattr(Ball, "steepest_point", lambda self, gradient, inputs: inputs + 1.1)

    assert not any(broken().values())


@pytest.mark.parametrize(("scale", "grade"), [(1.0, "pass"), (1e4, "suspicious")])
def test_saturated_model_is_suspicious_with_advice(scale: float, grade: str) -> None:
    found: dict[str, Check] = {
        check.name: check for check in run(Plane(scale), BATTERY_SIZES["small"]).checks
    }

    assert grade == found["saturation"].grade
    assert "margin or the logits" in found["saturation"].text


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_larger_logits_move_no_outcome_of_the_targeted_ascent(norm: Norm) -> None:
    torch.manual_seed(0)
    head = nn.Linear(16, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 16), nn.ReLU(), head)
    inputs = TEST.inputs(torch.arange(70))
    with torch.no_grad():
        # The decision boundary goes through the middle of the samples.
        gap = (model(inputs) @ torch.tensor([1.0, -1.0])).median()
        head.bias.add_(gap * torch.tensor([-0.5, 0.5]))
        # Its own predictions as labels, so that samples are right at all distances.
        labels: Tensor = model(inputs).argmax(1)
    parts: dict[Part, tuple[Tensor, Tensor]] = {"train": (inputs, labels), "test": (inputs, labels)}
    test = ArrayDataset(parts, names=["a", "b"]).part("test")

    def broken(scale: float) -> Tensor:
        scaled = Scaled(model, scale).eval().requires_grad_(False)
        found = run_battery(scaled, test, ThreatModel(norm, 0.15), QUICK, device=CPU)
        return found.outcomes["targeted"] == Outcome.BROKEN

    plain = broken(1.0)

    assert 0 < int(plain.sum()) < 70
    for scale in (4.0, 12.0, 100.0):
        assert int((plain != broken(scale)).sum()) <= 1
