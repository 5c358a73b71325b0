"""Attacks on randomised models: expectation over transformation, and the closed form of a linear model with noise."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import pytest
import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.options import Options
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.randomized import model_draws
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import (
    DataCard,
    Evaluation,
    EvaluationInputs,
    Factory,
    Json,
    Measurement,
    Outcome,
)
from advtransfer_foolbox.attack_settings import Apgd, Fgsm, Pgd, autoattack_members
from advtransfer_foolbox.components.autoattack import apgd, autoattack
from advtransfer_foolbox.components.ensembles import ensemble, noise
from advtransfer_foolbox.components.fab_square import square
from advtransfer_foolbox.components.gradient import fgsm, pgd
from advtransfer_foolbox.draws import mean_over_draws
from advtransfer_foolbox.gradient_attacks import GradientAttack

SIGMA, EPS = 0.3, 0.05


class InputNoise(nn.Module):
    """Gaussian noise on the inputs, in eval mode too."""

    randomized = True

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + SIGMA * torch.randn_like(inputs)


WEIGHT = torch.randn(16, generator=stream_generator("weight"))


def linear(front: nn.Module) -> nn.Sequential:
    """Two logits whose difference is ``w (x - 1/2)``."""
    layer = nn.Linear(16, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([-WEIGHT / 2, WEIGHT / 2]))
        layer.bias.copy_(torch.stack([WEIGHT.sum() / 4, -WEIGHT.sum() / 4]))
    return nn.Sequential(front, nn.Flatten(), layer).eval().requires_grad_(False)


NOISY, PLAIN = linear(InputNoise()), linear(nn.Identity())


def samples(count: int) -> ArraySamples:
    """Images so far from the box that no attack meets it, with the labels of the clean model."""
    inputs = 0.2 + 0.6 * torch.rand(count, 1, 4, 4, generator=stream_generator("images"))
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", 2, ("below", "above"), "")
    return ArraySamples(card=card, inputs=inputs, labels=PLAIN(inputs).argmax(1))


def measure(evaluation: Evaluation, model: nn.Module, test: ArraySamples) -> Measurement:
    """Measure as the host does: the model's draws come from a stream."""
    context = InMemoryContext()
    with model_draws(model, source=lambda: context.generator("model draws"), device=context.device):
        return evaluation.measure(EvaluationInputs(test=test, model=model), context=context)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_step_on_a_linear_model_with_noise_is_that_on_the_clean_one(norm: Norm) -> None:
    """The margin of a linear model has the same gradient at every draw, and so have the means of 4 draws."""
    test = samples(40)
    images, labels = test.inputs(torch.arange(40)), test.labels(torch.arange(40))
    noisy = GradientAttack(Fgsm(kind="fgsm", loss="margin", draws=4), norm=norm)
    plain = GradientAttack(Fgsm(kind="fgsm", loss="margin"), norm=norm)
    found = noisy.attack_batch(
        PyTorchModel(NOISY, bounds=(0, 1)), images, labels, eps=EPS, randomized=True
    )
    expected = plain.attack_batch(PyTorchModel(PLAIN, bounds=(0, 1)), images, labels, eps=EPS)

    assert found.points.equal(expected.points)
    assert not found.is_adversarial.any()
    assert found.gradient_counts.tolist() == [4] * 40


def test_the_mean_gradient_comes_near_the_gradient_of_the_expectation() -> None:
    """Of ``x^2`` with noise the gradient is ``2 (x + noise)``: means over n have the deviation 2 sigma / sqrt(n)."""
    inputs = torch.rand(1000, generator=stream_generator("points"))
    source = stream_generator("noise")

    def gradient() -> tuple[Tensor, ...]:
        points = inputs.clone().requires_grad_()
        noise = SIGMA * torch.randn(1000, generator=source)
        return torch.autograd.grad((points + noise).square().sum(), points)

    for draws in (1, 25, 100):
        (mean,) = mean_over_draws(gradient, draws)
        error = (mean - 2 * inputs).square().mean().sqrt().item()
        assert error == pytest.approx(2 * SIGMA / math.sqrt(draws), rel=0.1)


AttackOptions: TypeAlias = dict[str, Any]  # Any: options as in YAML

ATTACKS: list[tuple[Factory[Evaluation], AttackOptions, str]] = [
    (fgsm, {"draws": 4}, "accuracy"),
    (pgd, {"steps": 4, "step_size": 0.02, "draws": 4}, "robust_accuracy"),
    (apgd, {"steps": 8, "draws": 4, "loss": "margin"}, "robust_accuracy"),
]


@pytest.mark.parametrize(("factory", "options", "metric"), ATTACKS, ids=["fgsm", "pgd", "apgd"])
def test_accuracy_under_attack_is_that_of_the_closed_form(
    factory: Factory[Evaluation], options: AttackOptions, metric: str
) -> None:
    """The best attack in l_inf takes eps |w|_1 of each margin m; the image is then right with probability
    Phi((m - eps |w|_1) / (sigma |w|_2)).
    """
    test = samples(1500)
    found = measure(factory(norm="linf", eps=EPS, **options), NOISY, test)
    pixels = test.inputs(torch.arange(1500)).flatten(1)
    margins = ((pixels - 0.5) @ WEIGHT).abs()

    def expected_and_error(margins: Tensor) -> tuple[float, float]:
        shares = torch.special.ndtr(margins / (SIGMA * WEIGHT.norm())).double()
        return shares.mean().item(), (shares * (1 - shares)).sum().sqrt().item() / 1500

    attacked = found.outcomes[f"{metric}@{EPS:g}"]
    expected, error = expected_and_error(margins - EPS * WEIGHT.abs().sum())
    # An image counts as right if it is right without attack and under it, at the same draw. The attacked margin
    # is below the clean one, and the draw moves both alike: right under attack implies right without.
    assert abs((attacked == Outcome.ROBUST).double().mean().item() - expected) < 4 * error
    assert not (attacked == Outcome.UNKNOWN).any()
    clean, clean_error = expected_and_error(margins)
    assert abs((attacked != Outcome.WRONG).double().mean().item() - clean) < 4 * clean_error
    assert expected + 8 * error < clean


def test_two_measurements_are_equal() -> None:
    evaluation = apgd(norm="l2", eps=0.3, steps=6, draws=3)
    first, second = (measure(evaluation, NOISY, samples(80)) for _ in range(2))

    assert first.outcomes["robust_accuracy@0.3"].equal(second.outcomes["robust_accuracy@0.3"])
    assert first.examples[0].inputs.equal(second.examples[0].inputs)
    assert len(first.examples[0].positions)


def test_the_outcome_of_a_larger_radius_is_never_better() -> None:
    found = measure(fgsm(norm="linf", eps=(0.02, 0.05, 0.1), draws=2), NOISY, samples(200)).outcomes
    broken = [found[f"accuracy@{eps:g}"] == Outcome.BROKEN for eps in (0.02, 0.05, 0.1)]

    assert (broken[0] <= broken[1]).all()
    assert (broken[1] <= broken[2]).all()


@pytest.mark.parametrize(("factory", "options", "metric"), ATTACKS, ids=["fgsm", "pgd", "apgd"])
def test_draws_change_nothing_of_a_deterministic_model_but_the_price(
    factory: Factory[Evaluation], options: AttackOptions, metric: str
) -> None:
    once = {**options, "draws": 1}
    name = f"{metric}@{EPS:g}"
    several, single = (
        measure(factory(norm="linf", eps=EPS, counts=True, **given), PLAIN, samples(60))
        for given in (options, once)
    )

    assert several.outcomes[name].equal(single.outcomes[name])
    assert several.samples["gradients"].equal(4 * single.samples["gradients"])


@pytest.mark.parametrize(
    "evaluation",
    [
        square(norm="linf", eps=EPS, queries=10),
        noise(norm="linf", eps=EPS, draws=2),
        autoattack(norm="linf", eps=EPS),
        ensemble(
            norm="linf",
            eps=EPS,
            attacks=(Fgsm(kind="fgsm"), *autoattack_members("l2", "standard", None, None)[3:]),
        ),
    ],
    ids=["square", "noise", "autoattack", "ensemble"],
)
def test_attacks_that_follow_one_draw_are_refused(evaluation: Evaluation) -> None:
    with pytest.raises(Inapplicable, match=r"randomised.* use foolbox/fgsm, pgd or apgd with"):
        measure(evaluation, NOISY, samples(4))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_version_for_randomised_models_is_that_of_the_original(norm: Norm) -> None:
    """Auto-PGD on cross-entropy and on DLR, 100 steps, one restart, 20 draws a gradient."""
    assert autoattack_members(norm, "rand", None, None) == (
        Apgd(kind="apgd", steps=100, restarts=1, loss="cross_entropy", draws=20),
        Apgd(kind="apgd", steps=100, restarts=1, loss="dlr", draws=20),
    )
    with pytest.raises(ValueError, match="steps: none unless version is fast, not 5"):
        autoattack_members(norm, "rand", 5, None)


@pytest.mark.parametrize(
    ("factory", "given"),
    [
        (fgsm, {}),
        (pgd, {"steps": 4, "step_size": 0.02}),
        (apgd, {}),
        (
            ensemble,
            {"attacks": [{"kind": "pgd", "steps": 4, "step_size": 0.02}, {"kind": "fgsm"}]},
        ),
    ],
    ids=["fgsm", "pgd", "apgd", "ensemble"],
)
def test_one_draw_is_in_no_id(factory: Factory[Evaluation], given: dict[str, Json]) -> None:
    values, faults = Options(factory).validate({"norm": "linf", "eps": EPS, **given})

    assert not faults
    assert "draws" not in repr(values)
    if factory is not ensemble:
        several, _ = Options(factory).validate({"norm": "linf", "eps": EPS, **given, "draws": 20})
        assert several == {**values, "draws": 20}


def test_settings_need_a_draw() -> None:
    for build in (
        lambda: Fgsm(kind="fgsm", draws=0),
        lambda: Pgd(kind="pgd", steps=1, step_size=0.1, draws=0),
        lambda: Apgd(kind="apgd", draws=0),
    ):
        with pytest.raises(ValueError, match="draws: at least 1, not 0"):
            build()
