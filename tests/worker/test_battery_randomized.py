"""The battery on randomised models and on those with surrogates, honest ones and others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.canaries import honest_network
from advtransfer.testing.canaries.honest_models import digits_dataset
from advtransfer.testing.data import toy
from advtransfer.toolkit.randomized import model_draws
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Check, Outcome
from advtransfer.worker.verification import (
    BatteryConfig,
    BatteryResult,
    ThreatModel,
    run_battery,
)
from advtransfer.worker.verification.config import BATTERY_SIZES

TEST = toy(classes=2, train=4, test=70, shape=(1, 2, 2), noise=0.45).part("test")
CPU = torch.device("cpu")
EPS = 0.4
IN_LINF = ThreatModel("linf", EPS)
QUICK = BatteryConfig(noise_draws=20, steps=5, unbounded_steps=8, derivative_samples=8)
SMOOTH = ("gradients", "derivatives", "continuity", "stochastic", "batch")


class Front(nn.Module):
    """What comes before the network: nothing, but for subclasses."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


class InputNoise(Front):
    """Gaussian noise, from torch's global generator."""

    randomized = True
    sigma = 0.2

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.sigma * torch.randn_like(inputs)


class HiddenNoise(InputNoise):
    """The same without a word."""

    randomized = False


class OtherGenerator(InputNoise):
    """Noise from a generator of its own, which the host cannot seed."""

    def __init__(self) -> None:
        super().__init__()
        self.source = [torch.Generator().manual_seed(0)]

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.sigma * torch.randn(inputs.shape, generator=self.source[0])


class ToldApart(InputNoise):
    """Tells an image alone, as it is judged, from one in a batch, as it is attacked."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs if len(inputs) == 1 else 1 - inputs)


class OnlyDeclared(Front):
    """Rounds, and says that it draws."""

    randomized = True

    def forward(self, inputs: Tensor) -> Tensor:
        return (64 * inputs).round() / 64


class Rounding(Front):
    """Rounds to multiples of 1/64."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (64 * inputs).round() / 64


class Straight(Rounding):
    """Offers the identity."""

    def surrogate(self, inputs: Tensor) -> Tensor:
        return inputs


class Astray(Front):
    """An honest layer with a surrogate that points to the wrong side."""

    def surrogate(self, inputs: Tensor) -> Tensor:
        return -inputs


class Mirrored(Rounding):
    """Hides behind a surrogate that reads the image the other way round."""

    def surrogate(self, inputs: Tensor) -> Tensor:
        return inputs.flip(-1)


class Coarse(Front):
    """Rounds to sixteen levels, with the identity as its surrogate."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (15 * inputs).round() / 15

    def surrogate(self, inputs: Tensor) -> Tensor:
        return inputs


class Plane(nn.Module):
    """Tells the two patterns apart by the pixels that mark them."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front = front

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits."""
        logits: Tensor = 3 * self.front(inputs).flatten(1)[:, :2]
        return logits


class NoisyCoarse(InputNoise):
    """Draws, and rounds to sixteen levels, with the noise alone as its surrogate."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (15 * super().forward(inputs)).round() / 15

    def surrogate(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs)


def run(front: Front, threat: ThreatModel = IN_LINF) -> BatteryResult:
    model = Plane(front).eval()
    with model_draws(model, source=lambda: stream_generator("battery"), device=CPU):
        return run_battery(model, TEST, threat, QUICK, device=CPU)


def checks_of(result: BatteryResult) -> Mapping[str, Check]:
    return {check.name: check for check in result.checks}


def broken_by(result: BatteryResult) -> Tensor:
    return (torch.stack(list(result.outcomes.values())) == Outcome.BROKEN).any(0)


def bad_checks(result: BatteryResult) -> set[str]:
    return {check.name for check in result.checks if check.grade in ("fail", "suspicious")}


def test_an_honest_randomised_model_passes() -> None:
    result = run(InputNoise())

    assert bad_checks(result) == set()
    assert {checks_of(result)[name].grade for name in SMOOTH} == {"pass"}
    assert checks_of(result)["stochastic"].text.endswith("the model is randomised")


def test_the_battery_reaches_the_accuracy_of_the_closed_form() -> None:
    """Right under attack with probability Phi((m - 2 eps) / (sqrt(2) sigma)), m the difference of two pixels."""
    result = run(InputNoise())
    pixels = TEST.inputs(result.positions).flatten(1)
    labels = TEST.labels(result.positions)
    margins = (pixels[:, 0] - pixels[:, 1]) * (1 - 2 * labels)
    shares = torch.special.ndtr((margins - 2 * EPS) / (2**0.5 * InputNoise.sigma)).double()
    wrong = (torch.stack(list(result.outcomes.values())) == Outcome.WRONG).all(0)
    right = 1 - (broken_by(result) | wrong).double().mean().item()

    error = (shares * (1 - shares)).sum().sqrt().item() / len(shares)
    assert abs(right - shares.mean().item()) < 4 * error


def test_two_batteries_of_a_randomised_model_are_equal() -> None:
    first, second = run(InputNoise()), run(InputNoise())

    assert first.checks == second.checks
    assert all(first.outcomes[name].equal(second.outcomes[name]) for name in first.outcomes)


def test_noise_that_is_not_declared_is_suspicious() -> None:
    assert "stochastic" in bad_checks(run(HiddenNoise()))


def test_noise_that_cannot_be_seeded_is_suspicious() -> None:
    assert "stochastic" in bad_checks(run(OtherGenerator()))


def test_a_model_that_tells_an_image_alone_is_suspicious() -> None:
    assert "batch" in bad_checks(run(ToldApart()))


def test_declaring_draws_hides_no_rounding() -> None:
    assert {"gradients", "continuity"} <= bad_checks(run(OnlyDeclared()))


def test_rounding_is_found_out_without_a_surrogate_and_honest_with_one() -> None:
    blind, seeing, plain = run(Rounding()), run(Straight()), run(Front())
    targeted = [result.outcomes["targeted"] == Outcome.BROKEN for result in (blind, seeing, plain)]

    assert {"gradients", "continuity"} <= bad_checks(blind)
    assert bad_checks(seeing) == bad_checks(plain) == set()
    assert int(targeted[0].sum()) == 0
    # Rounding moves a margin by 1/64 at most, to either side.
    assert abs(int(targeted[1].sum()) - int(targeted[2].sum())) <= 2
    assert int(targeted[1].sum()) > 20


def test_a_surrogate_that_is_another_model_is_suspicious_and_a_coarse_one_is_not() -> None:
    assert "surrogate" in bad_checks(run(Mirrored()))
    assert "surrogate" in bad_checks(run(Mirrored(), ThreatModel("l1", 0.8)))
    for honest in (Coarse(), NoisyCoarse()):
        assert checks_of(run(honest))["surrogate"].grade == "pass"
    assert checks_of(run(Coarse(), ThreatModel("l1", 0.8)))["surrogate"].grade == "pass"


def test_a_surrogate_that_leads_astray_saves_no_image() -> None:
    """The battery follows the model's own gradients too."""
    assert (broken_by(run(Front())) <= broken_by(run(Astray()))).all()


class RobustStandIn(nn.Module):
    """A network behind rounding that lets attacks follow another, more robust one."""

    def __init__(self, network: nn.Module, robust: nn.Module) -> None:
        super().__init__()
        self.network, self.robust = network, robust

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.network(inputs)
        return (256 * outputs).round() / 256

    def surrogate(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.robust(inputs)
        return outputs


@pytest.mark.slow
def test_a_surrogate_that_is_a_more_robust_model_is_suspicious() -> None:
    natural, robust = honest_network(0), honest_network(0, robust=True)
    test, threat = digits_dataset().part("test"), ThreatModel("linf", 0.1)
    battery = BATTERY_SIZES["small"]
    found = run_battery(RobustStandIn(natural, robust).eval(), test, threat, battery, device=CPU)
    honest = run_battery(RobustStandIn(natural, natural).eval(), test, threat, battery, device=CPU)

    assert "surrogate" in bad_checks(found)
    assert checks_of(honest)["surrogate"].grade == "pass"
    assert set() == bad_checks(honest)
