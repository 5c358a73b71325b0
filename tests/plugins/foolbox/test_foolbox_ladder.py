"""Several radii: climbed from the smallest, each from where the last one ended."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Measurement, Outcome
from advtransfer_foolbox.components.gradient import basic_iterative, fgsm, pgd
from advtransfer_foolbox.components.minimization import deepfool
from advtransfer_foolbox.options import EpsMultiple

RUNGS: dict[Norm, tuple[float, ...]] = {
    "linf": (0.02, 0.04, 0.06, 0.08),
    "l2": (0.1, 0.2, 0.3, 0.4),
    "l1": (0.3, 0.6, 0.9, 1.2),
}


@cache
def case() -> tuple[nn.Module, ArraySamples]:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.Tanh(), nn.Linear(64, 5))

    model = build_initialized(build, stream_generator("ladder")).eval()
    card = DataCard((1, 6, 6), (0.0, 1.0), "classes", 5, tuple("abcde"), "")
    inputs = torch.rand((300, 1, 6, 6), generator=stream_generator("ladder images"))
    return model, ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))


def measure(evaluation: Evaluation) -> Measurement:
    model, test = case()
    return evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())


def broken(measured: Measurement, eps: float) -> set[int]:
    (name,) = (name for name in measured.outcomes if name.endswith(f"accuracy@{eps:g}"))
    return set((measured.outcomes[name] == Outcome.BROKEN).nonzero().flatten().tolist())


def climbed(norm: Norm, rungs: tuple[float, ...]) -> Measurement:
    return measure(
        pgd(norm=norm, eps=rungs, steps=12, step_size=RUNGS[norm][-1] / 10, restarts=2, counts=True)
    )


@pytest.mark.parametrize("norm", RUNGS)
def test_broken_samples_stay_broken_at_larger_radii_by_the_same_example(
    norm: Norm,
) -> None:
    measured = climbed(norm, RUNGS[norm])
    shown = [
        dict(zip(one.positions.tolist(), one.inputs, strict=True)) for one in measured.examples
    ]

    for lower, upper in pairwise(RUNGS[norm]):
        assert broken(measured, lower) < broken(measured, upper)
    for few, many in pairwise(shown):
        assert all(point.equal(many[position]) for position, point in few.items())


@pytest.mark.parametrize("norm", RUNGS)
def test_a_ladder_finds_no_less_than_its_radii_alone_up_to_2_samples_in_100_for_half_the_gradients(
    norm: Norm,
) -> None:
    ladder = climbed(norm, RUNGS[norm])
    alone = {eps: climbed(norm, (eps,)) for eps in RUNGS[norm]}

    for eps, single in alone.items():
        assert len(broken(ladder, eps)) >= len(broken(single, eps)) - 0.02 * 300
    spent = sum(one.metrics["mean_gradients"] for one in alone.values())
    assert ladder.metrics["mean_gradients"] < 0.6 * spent


def test_the_steps_of_a_warm_start_grow_with_the_cube_of_the_radius_up_to_all_of_them() -> None:
    measured = measure(
        basic_iterative(
            norm="linf", eps=(0.001, 0.0005, 0.002), steps=16, step_size=0.001, counts=True
        )
    )
    robust = measured.outcomes["robust_accuracy@0.002"] == Outcome.ROBUST

    assert robust.sum() > 200
    assert {16 + 16 // 8 + 16} == set(measured.samples["gradients"][robust].tolist())


def test_radii_are_attacked_from_the_smallest_in_any_order_of_the_list() -> None:
    up, mixed = climbed("linf", (0.02, 0.04, 0.06)), climbed("linf", (0.06, 0.02, 0.04))

    assert ["clean_accuracy", *(f"robust_accuracy@{eps}" for eps in (0.06, 0.02, 0.04))] == list(
        mixed.outcomes
    )
    assert [0.06, 0.02, 0.04] == [one.eps for one in mixed.examples]
    for name, outcomes in up.outcomes.items():
        assert outcomes.tolist() == mixed.outcomes[name].tolist()


@pytest.mark.parametrize("norm", RUNGS)
def test_list_of_one_radius_equals_that_radius(norm: Norm) -> None:
    (eps, *_) = RUNGS[norm]
    many, one = (
        measure(pgd(norm=norm, eps=given, steps=12, step_size=RUNGS[norm][-1] / 10, restarts=2))
        for given in ((eps,), eps)
    )

    assert (
        one.outcomes[f"robust_accuracy@{eps:g}"].tolist()
        == many.outcomes[f"robust_accuracy@{eps:g}"].tolist()
    )
    assert one.examples[0].inputs.equal(many.examples[0].inputs)


def test_radius_0_is_not_attacked() -> None:
    with_zero, without = climbed("l2", (0.2, 0.0, 0.3)), climbed("l2", (0.2, 0.3))

    assert with_zero.outcomes["clean_accuracy"].equal(with_zero.outcomes["robust_accuracy@0"])
    assert without.outcomes["robust_accuracy@0.3"].equal(with_zero.outcomes["robust_accuracy@0.3"])


@pytest.mark.parametrize("norm", RUNGS)
def test_warm_start_from_a_far_smaller_radius_stays_inside_the_larger_ball(
    norm: Norm,
) -> None:
    eps = RUNGS[norm][-1]
    far, alone = (
        measure(pgd(norm=norm, eps=given, steps=12, step_size=eps / 10)).outcomes[
            f"robust_accuracy@{eps:g}"
        ]
        for given in ((eps / 200, eps), eps)
    )

    assert Outcome.UNKNOWN not in far
    assert (alone == Outcome.BROKEN).sum() - 6 <= (far == Outcome.BROKEN).sum()


class TornBesideGrey(nn.Module):
    """Class 0 everywhere, with a gradient that is NaN where the first pixel is within 0.02 of a half."""

    def forward(self, inputs: Tensor) -> Tensor:
        first = inputs.flatten(1)[:, :1]
        one = ((first - 0.5).abs() > 0.02).float()
        # the root of 0 is exact, but its derivative is infinite
        return torch.cat([1 + 0 * first, (0 * first + one).sqrt() - one], 1)


def test_samples_of_a_failed_attempt_are_unknown_at_every_radius() -> None:
    card = DataCard((1, 2, 2), (0.0, 1.0), "classes", 2, ("a", "b"), "")
    inputs = torch.rand((40, 1, 2, 2), generator=stream_generator("torn"))
    inputs[:20, 0, 0, 0] = 0.5
    inputs[20:, 0, 0, 0] = 0.9
    test = ArraySamples(card=card, inputs=inputs, labels=torch.zeros(40, dtype=torch.int64))
    evaluation = pgd(norm="linf", eps=(0.01, 0.05), steps=5, step_size=0.02)
    found = evaluation.measure(
        EvaluationInputs(test=test, model=TornBesideGrey().eval()), context=InMemoryContext()
    ).outcomes

    for eps in (0.01, 0.05):
        assert [Outcome.UNKNOWN] * 20 + [Outcome.ROBUST] * 20 == found[
            f"robust_accuracy@{eps}"
        ].tolist()


def test_relative_step_size_differs_between_the_radii_of_a_list() -> None:
    relative, small, large = (
        measure(pgd(norm="l2", eps=(0.1, 0.3), steps=6, step_size=size)).examples
        for size in (EpsMultiple(times_eps=0.5), 0.05, 0.15)
    )

    assert small[0].inputs.equal(relative[0].inputs)
    assert not large[0].inputs.equal(relative[0].inputs)
    assert not small[1].inputs.equal(relative[1].inputs)


def test_one_step_attacks_use_no_warm_start() -> None:
    ladder, alone = (
        measure(fgsm(norm="linf", eps=(0.02, 0.06))),
        measure(fgsm(norm="linf", eps=0.06)),
    )

    assert broken(ladder, 0.02) | broken(alone, 0.06) == broken(ladder, 0.06)


def test_minimization_attack_runs_once_for_all_radii() -> None:
    rungs = RUNGS["l2"]
    ladder, alone = (
        measure(deepfool(norm="l2", eps=eps, counts=True)) for eps in (rungs, rungs[-1])
    )
    away = ladder.samples["distance"]

    assert alone.samples["gradients"].tolist() == ladder.samples["gradients"].tolist()
    assert alone.samples["distance"].tolist() == away.tolist()
    for eps in rungs:
        assert set((away <= eps + 1e-6).nonzero().flatten().tolist()) == broken(ladder, eps)


def test_every_evaluation_of_model_and_gradient_is_counted() -> None:
    steps = 7
    measured = measure(
        basic_iterative(norm="linf", eps=0.001, steps=steps, step_size=0.001, counts=True)
    )
    robust = measured.outcomes["robust_accuracy@0.001"] == Outcome.ROBUST

    assert robust.sum() > 200
    assert {steps} == set(measured.samples["gradients"][robust].tolist())
    assert {1 + steps + 1} == set(
        measured.samples["forwards"][robust].tolist()
    )  # without attack, steps, final check
    assert (
        measured.samples["gradients"].double().mean().item() == measured.metrics["mean_gradients"]
    )
    assert {} == dict(
        measure(basic_iterative(norm="linf", eps=0.001, steps=1, step_size=0.001)).samples
    )
