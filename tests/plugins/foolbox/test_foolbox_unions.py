"""Several attacks together, and random noise."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from functools import cache
from typing import get_args, get_type_hints

import pytest
import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advtransfer.options import Options
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import build_initialized, keyed_uniform, stream_generator
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Json, Measurement, Outcome
from advtransfer_foolbox import register_evaluations
from advtransfer_foolbox.attack_settings import AttackSettings, DeepFool, Noise, NoiseKind, Pgd
from advtransfer_foolbox.components import ensembles, gradient
from advtransfer_foolbox.random_noise import PerSampleNoise


@cache
def case() -> tuple[nn.Module, ArraySamples]:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 5))

    model = build_initialized(build, stream_generator("unions")).eval()
    card = DataCard((1, 6, 6), (0.0, 1.0), "classes", 5, tuple("abcde"), "")
    inputs = torch.rand((200, 1, 6, 6), generator=stream_generator("unions images"))
    return model, ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))


def measure(evaluation: Evaluation) -> Measurement:
    model, test = case()
    return evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())


def broken(measured: Measurement, eps: float) -> set[int]:
    (name,) = (name for name in measured.outcomes if name.endswith(f"accuracy@{eps:g}"))
    return set((measured.outcomes[name] == Outcome.BROKEN).nonzero().flatten().tolist())


def test_an_ensemble_breaks_what_any_of_its_attacks_breaks_at_every_radius() -> None:
    noisy = Noise(kind="noise", draws=60)
    step = Pgd(kind="pgd", steps=1, step_size=0.05, restarts=2)
    near = DeepFool(kind="deepfool", steps=2)
    rungs = (0.1, 0.2, 0.3)
    parts = [
        measure(ensembles.ensemble(norm="l2", eps=rungs, attacks=(one,)))
        for one in (noisy, step, near)
    ]

    for attacks in ((noisy, step, near), (near, noisy, step)):
        whole = measure(ensembles.ensemble(norm="l2", eps=rungs, attacks=attacks))
        for eps in rungs:
            sets = [broken(part, eps) for part in parts]
            assert set.union(*sets) == broken(whole, eps)
            assert max(map(len, sets)) < len(broken(whole, eps)) or eps == rungs[0]


def test_an_ensemble_of_one_is_the_evaluation_of_that_name() -> None:
    alone = measure(gradient.pgd(norm="l2", eps=0.2, steps=3, step_size=0.1, restarts=2))
    whole = measure(
        ensembles.ensemble(
            norm="l2", eps=0.2, attacks=(Pgd(kind="pgd", steps=3, step_size=0.1, restarts=2),)
        )
    )

    assert alone.outcomes["robust_accuracy@0.2"].equal(whole.outcomes["robust_accuracy@0.2"])
    assert alone.examples[0].inputs.equal(whole.examples[0].inputs)


@pytest.mark.parametrize("kind", get_args(AttackSettings))
def test_every_kind_of_attack_is_named_as_its_evaluation_and_has_its_options_and_defaults(
    kind: type,
) -> None:
    factories = {one.__name__: one for one in register_evaluations()}
    (name,) = get_args(get_type_hints(kind)["kind"])
    options = Options.from_factory(factories[name]).fields
    own = {one.name: one.default for one in fields(kind) if one.name != "kind"}

    assert {"norm", "eps", "seed", "counts"} >= {*options} - {*own}
    assert own == {one: MISSING if options[one].required else options[one].default for one in own}


@pytest.mark.parametrize(
    ("attacks", "path"),
    [
        ([], ("attacks",)),
        ([{"kind": "pdg"}], ("attacks", 0)),
        ([{"kind": "pgd", "steps": 3}], ("attacks", 0)),
        ([{"kind": "pgd", "steps": 0, "step_size": 0.1}], ("attacks", 0)),
        (
            [{"kind": "pgd", "steps": 3, "step_size": 0.1, "restarts": 2, "random_start": False}],
            ("attacks", 0),
        ),
        ([{"kind": "pgd", "steps": 3, "step_size": 0.1, "targets": 2}], ("attacks", 0)),
        ([{"kind": "deepfool"}, {"kind": "noise", "noise": "pink"}], ("attacks", 1, "noise")),
    ],
)
def test_fault_of_an_attack_has_its_position(attacks: Json, path: tuple[str | int, ...]) -> None:
    _, faults = Options.from_factory(ensembles.ensemble).validate(
        {"norm": "l2", "eps": 0.1, "attacks": attacks}
    )

    assert [path] == [fault.path for fault in faults]


def test_an_attack_of_another_norm_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="found norm 'l1' for deepfool; expected l2 or linf; leave the attack out"
    ):
        ensembles.ensemble(norm="l1", eps=1, attacks=(DeepFool(kind="deepfool"),))


@pytest.mark.parametrize("noise", get_args(NoiseKind))
@pytest.mark.parametrize("norm", get_args(Norm))
def test_noise_has_the_size_of_the_ball_before_it_is_clipped(norm: Norm, noise: NoiseKind) -> None:
    attack = PerSampleNoise(
        Noise(kind="noise", noise=noise, draws=1),
        norm=norm,
        draw_uniform=lambda draw, count: keyed_uniform(draw, range(20), (count,)),
    )
    images = torch.full((20, 1, 8, 8), 0.5)
    drawn: list[Tensor] = []

    class Seen(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            drawn.append(inputs.clone())
            return torch.tensor([1.0, 0.0]).expand(len(inputs), 2)

    attack.attack_batch(
        PyTorchModel(Seen().eval(), bounds=(0, 1)),
        images,
        torch.zeros(20, dtype=torch.int64),
        eps=0.1,
    )
    sizes = (
        (drawn[-1] - images).flatten(1).norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
    )

    assert [pytest.approx(0.1, abs=1e-5)] * 20 == sizes.tolist()


def test_more_draws_never_break_less() -> None:
    few, many = (measure(ensembles.noise(norm="linf", eps=0.1, draws=draws)) for draws in (1, 40))

    assert broken(few, 0.1) < broken(many, 0.1)
