"""Several radii: climbed from the smallest, each from where the last one ended."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.samples import Arrays
from advtransfer.toolkit.streams import generator, initialised
from advtransfer.types import DataCard, Evaluation, Given, Measurement, Outcome
from advtransfer_foolbox.factories.gradients import basic_iterative, fgsm, pgd
from advtransfer_foolbox.factories.minimal import deepfool
from advtransfer_foolbox.settings import Norm

RUNGS: dict[Norm, tuple[float, ...]] = {
    "linf": (0.02, 0.04, 0.06, 0.08),
    "l2": (0.1, 0.2, 0.3, 0.4),
    "l1": (0.3, 0.6, 0.9, 1.2),
}


@cache
def case() -> tuple[nn.Module, Arrays]:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.Tanh(), nn.Linear(64, 5))

    model = initialised(build, generator("ladder")).eval()
    card = DataCard((1, 6, 6), (0.0, 1.0), "classes", 5, tuple("abcde"), "")
    inputs = torch.rand((300, 1, 6, 6), generator=generator("ladder images"))
    return model, Arrays(card=card, inputs=inputs, labels=model(inputs).argmax(1))


def measure(evaluation: Evaluation) -> Measurement:
    model, test = case()
    return evaluation.measure(Given(test=test, model=model), context=InMemoryContext())


def broken(measured: Measurement, eps: float) -> set[int]:
    (name,) = (name for name in measured.outcomes if name.endswith(f"accuracy@{eps:g}"))
    return set((measured.outcomes[name] == Outcome.BROKEN).nonzero().flatten().tolist())


def climbed(norm: Norm, rungs: tuple[float, ...]) -> Measurement:
    return measure(pgd(norm=norm, eps=rungs, steps=12, step_size=RUNGS[norm][-1] / 10, restarts=2, counts=True))


@pytest.mark.parametrize("norm", RUNGS)
def test_what_is_broken_at_one_radius_is_broken_at_every_larger_one_by_the_same_example(norm: Norm) -> None:
    measured = climbed(norm, RUNGS[norm])
    shown = [dict(zip(one.positions.tolist(), one.inputs, strict=True)) for one in measured.examples]

    for lower, upper in pairwise(RUNGS[norm]):
        assert broken(measured, lower) < broken(measured, upper)
    for few, many in pairwise(shown):
        assert all(point.equal(many[position]) for position, point in few.items())


@pytest.mark.parametrize("norm", RUNGS)
def test_a_ladder_finds_no_less_than_its_radii_alone_up_to_2_samples_in_100_for_half_the_gradients(norm: Norm) -> None:
    ladder = climbed(norm, RUNGS[norm])
    alone = {eps: climbed(norm, (eps,)) for eps in RUNGS[norm]}

    for eps, single in alone.items():
        assert len(broken(ladder, eps)) >= len(broken(single, eps)) - 0.02 * 300
    spent = sum(one.metrics["mean_gradients"] for one in alone.values())
    assert ladder.metrics["mean_gradients"] < 0.6 * spent


def test_radii_are_climbed_from_the_smallest_however_they_are_listed() -> None:
    up, mixed = climbed("linf", (0.02, 0.04, 0.06)), climbed("linf", (0.06, 0.02, 0.04))

    assert ["clean_accuracy", *(f"robust_accuracy@{eps}" for eps in (0.06, 0.02, 0.04))] == list(mixed.outcomes)
    assert [0.06, 0.02, 0.04] == [one.eps for one in mixed.examples]
    for name, outcomes in up.outcomes.items():
        assert outcomes.tolist() == mixed.outcomes[name].tolist()


@pytest.mark.parametrize("norm", RUNGS)
def test_a_list_of_one_radius_is_that_radius(norm: Norm) -> None:
    (eps, *_) = RUNGS[norm]
    many, one = (
        measure(pgd(norm=norm, eps=given, steps=12, step_size=RUNGS[norm][-1] / 10, restarts=2))
        for given in ((eps,), eps)
    )

    assert one.outcomes[f"robust_accuracy@{eps:g}"].tolist() == many.outcomes[f"robust_accuracy@{eps:g}"].tolist()
    assert one.examples[0].inputs.equal(many.examples[0].inputs)


def test_eps_0_is_a_rung_on_which_nothing_is_tried() -> None:
    with_zero, without = climbed("l2", (0.2, 0.0, 0.3)), climbed("l2", (0.2, 0.3))

    assert with_zero.outcomes["clean_accuracy"].equal(with_zero.outcomes["robust_accuracy@0"])
    assert without.outcomes["robust_accuracy@0.3"].equal(with_zero.outcomes["robust_accuracy@0.3"])


def test_one_step_attacks_start_anew_on_every_rung() -> None:
    ladder, alone = measure(fgsm(norm="linf", eps=(0.02, 0.06))), measure(fgsm(norm="linf", eps=0.06))

    assert broken(ladder, 0.02) | broken(alone, 0.06) == broken(ladder, 0.06)


def test_an_attack_that_looks_for_the_nearest_example_is_run_once_for_all_radii() -> None:
    rungs = RUNGS["l2"]
    ladder, alone = (measure(deepfool(norm="l2", eps=eps, counts=True)) for eps in (rungs, rungs[-1]))
    away = ladder.samples["distance"]

    assert alone.samples["gradients"].tolist() == ladder.samples["gradients"].tolist()
    assert alone.samples["distance"].tolist() == away.tolist()
    for eps in rungs:
        assert set((away <= eps + 1e-6).nonzero().flatten().tolist()) == broken(ladder, eps)


def test_every_evaluation_of_model_and_gradient_is_counted() -> None:
    steps = 7
    measured = measure(basic_iterative(norm="linf", eps=0.001, steps=steps, step_size=0.001, counts=True))
    robust = measured.outcomes["robust_accuracy@0.001"] == Outcome.ROBUST

    assert robust.sum() > 200
    assert {steps} == set(measured.samples["gradients"][robust].tolist())
    assert {1 + steps + 1} == set(measured.samples["forwards"][robust].tolist())  # without attack, steps, final check
    assert measured.samples["gradients"].double().mean().item() == measured.metrics["mean_gradients"]
    assert {} == dict(measure(basic_iterative(norm="linf", eps=0.001, steps=1, step_size=0.001)).samples)
