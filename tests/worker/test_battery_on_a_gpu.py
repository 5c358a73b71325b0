"""The battery on a simulated GPU equals the battery on the CPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.data import toy
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.types import Outcome
from advtransfer.worker.process import deterministic_algorithms
from advtransfer.worker.verification import BatteryResult, ThreatModel, run_battery
from advtransfer.worker.verification.battery_attacks import BatteryAttacks
from advtransfer.worker.verification.config import BATTERY_SIZES

BATTERY = dataclasses.replace(
    BATTERY_SIZES["small"],
    samples=60,
    # Several rivals, beyond the first steps and the first look at which rows are finished.
    targets=3,
    l1_targets=3,
    steps=10,
    noise_draws=5,
    unbounded_steps=3,
)


def found(device: str, threat: ThreatModel) -> BatteryResult:
    """The battery of a linear model, with examples that were kept on the CPU."""
    test = toy(classes=4, test=60).part("test")
    card = test.card
    torch.manual_seed(0)
    size = torch.Size(card.shape).numel()
    model = (
        nn.Sequential(nn.Flatten(), nn.Linear(size, card.outputs))
        .eval()
        .requires_grad_(False)
        .to(device)
    )
    points = torch.rand(
        min(BATTERY.samples, len(test)), *card.shape, generator=torch.Generator().manual_seed(1)
    )
    with deterministic_algorithms():
        return run_battery(
            model,
            test,
            threat,
            BATTERY,
            device=torch.device(device),
            transferred=points,
        )


@pytest.mark.parametrize(
    "threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.5), ThreatModel("l1", 0.5)], ids=str
)
def test_battery_on_a_gpu_equals_that_on_the_cpu(threat: ThreatModel) -> None:
    expected = found("cpu", threat)
    with pretend_cuda():
        seen = found("cuda", threat)

    assert "transferred" in seen.outcomes
    assert {Outcome.ROBUST, Outcome.BROKEN} <= set(seen.outcomes["targeted"].tolist())
    assert seen.checks == expected.checks
    assert {name: one.tolist() for name, one in seen.outcomes.items()} == {
        name: one.tolist() for name, one in expected.outcomes.items()
    }


def test_cpu_examples_indexed_by_gpu_rows_raise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def attack_by_transfer(self: BatteryAttacks, points: Tensor) -> None:
        points[
            self.correct.nonzero().flatten()
        ]  # a fault that once made every robust evaluation on a GPU fail

    monkeypatch.setattr(BatteryAttacks, "attack_by_transfer", attack_by_transfer)

    with (
        pretend_cuda(),
        pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"),
    ):
        found("cuda", ThreatModel("linf", 0.1))
