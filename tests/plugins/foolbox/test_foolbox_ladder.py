"""Several radii: each attacked as it would be alone, on the samples that the smaller ones left."""

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
from advtransfer_foolbox.attack_settings import EpsMultiple
from advtransfer_foolbox.components.gradient import basic_iterative, pgd
from advtransfer_foolbox.components.minimization import deepfool

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
def test_a_ladder_breaks_what_its_radii_alone_break_up_to_each_for_at_most_their_gradients(
    norm: Norm,
) -> None:
    ladder = climbed(norm, RUNGS[norm])
    alone = {eps: climbed(norm, (eps,)) for eps in RUNGS[norm]}

    below: set[int] = set()
    for eps, single in alone.items():
        below |= broken(single, eps)
        assert below == broken(ladder, eps)
    assert broken(alone[RUNGS[norm][1]], RUNGS[norm][1]) > broken(ladder, RUNGS[norm][0])
    spent = torch.stack([single.samples["gradients"] for single in alone.values()]).sum(0)
    assert (ladder.samples["gradients"] <= spent).all()
    assert ladder.metrics["mean_gradients"] < spent.double().mean()


@pytest.mark.parametrize("norm", RUNGS)
def test_no_value_depends_on_larger_radii(norm: Norm) -> None:
    all_radii = climbed(norm, RUNGS[norm])

    for count in range(1, len(RUNGS[norm])):
        few = climbed(norm, RUNGS[norm][:count])
        for name, outcomes in few.outcomes.items():
            assert outcomes.equal(all_radii.outcomes[name])
        for mine, theirs in zip(few.examples, all_radii.examples, strict=False):
            assert mine.inputs.equal(theirs.inputs)


def test_a_sample_that_stands_takes_all_steps_at_every_radius() -> None:
    measured = measure(
        basic_iterative(
            norm="linf", eps=(0.001, 0.0005, 0.002), steps=16, step_size=0.001, counts=True
        )
    )
    robust = measured.outcomes["robust_accuracy@0.002"] == Outcome.ROBUST

    assert robust.sum() > 200
    assert {3 * 16} == set(measured.samples["gradients"][robust].tolist())


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
        measure(pgd(norm="l2", eps=eps, steps=6, step_size=size))
        for eps, size in (
            ((0.1, 0.3), EpsMultiple(times_eps=0.5)),
            (0.1, 0.5 * 0.1),
            (0.3, 0.5 * 0.3),
        )
    )

    assert broken(small, 0.1) == broken(relative, 0.1)
    assert broken(small, 0.1) | broken(large, 0.3) == broken(relative, 0.3)
    assert small.examples[0].inputs.equal(relative.examples[0].inputs)


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
