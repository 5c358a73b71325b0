from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import EvaluationInputs
from advtransfer_alignment.attacks import compute_perturbations, random_starts
from advtransfer_alignment.options import (
    Attack,
    LabelFreeFgsm,
    LabelFreePgd,
    TopSingularAttack,
    VirtualAttack,
)

STRONG: list[Attack] = [
    LabelFreePgd(eps=0.3, steps=5),
    LabelFreePgd(norm="l2", eps=0.8, steps=5),
    LabelFreeFgsm(kind="fgsm", eps=0.3),
    LabelFreeFgsm(kind="fgsm", norm="l2", eps=0.8),
    VirtualAttack(kind="virtual", eps=0.8, steps=5),
    VirtualAttack(kind="virtual", norm="linf", eps=0.3, steps=5),
    TopSingularAttack(kind="top_singular", eps=0.8),
]


def norm_of(attack: Attack) -> TrainingNorm:
    return "l2" if isinstance(attack, TopSingularAttack) else attack.norm


def deltas(given: EvaluationInputs, attack: Attack) -> Tensor:
    model = cast(BlockNetwork, given.reference)
    return compute_perturbations(model, given.test, attack=attack, context=InMemoryContext())


@pytest.mark.parametrize("attack", STRONG, ids=lambda attack: f"{attack.kind} {norm_of(attack)}")
def test_perturbed_images_stay_in_the_ball_and_in_the_box(
    given: EvaluationInputs, attack: Attack
) -> None:
    found = deltas(given, attack)
    moved = given.test.inputs(torch.arange(70)) + found
    norm = torch.inf if norm_of(attack) == "linf" else 2

    assert found.flatten(1).norm(p=norm, dim=1).max() <= attack.eps * (1 + 1e-5)
    assert moved.min() >= -1e-6
    assert moved.max() <= 1 + 1e-6
    assert found.flatten(1).norm(dim=1).min() > 0


@pytest.mark.parametrize("attack", STRONG, ids=lambda attack: f"{attack.kind} {norm_of(attack)}")
def test_an_attack_moves_the_outputs_further_than_its_random_start(
    given: EvaluationInputs, attack: Attack
) -> None:
    model, inputs = cast(BlockNetwork, given.reference), given.test.inputs(torch.arange(70))
    noise = random_starts(
        list(given.test.keys), (1, 4, 4), norm=norm_of(attack), context=InMemoryContext()
    )
    with torch.no_grad():
        moves = [
            (model((inputs + delta).clamp(0, 1)) - model(inputs)).norm(dim=1).mean()
            for delta in (deltas(given, attack), attack.eps * noise)
        ]

    assert moves[0] > 1.5 * moves[1]


def test_a_sample_starts_at_the_same_point_in_every_order_and_for_every_model(
    given: EvaluationInputs,
) -> None:
    context, keys = InMemoryContext(), [5, 2, 9]
    found = random_starts(keys, (1, 4, 4), norm="linf", context=context)

    assert found[1:].equal(random_starts(keys[1:], (1, 4, 4), norm="linf", context=context))
    assert found.abs().max() <= 1


@pytest.mark.parametrize(("norm", "power"), [("linf", torch.inf), ("l2", 2)])
def test_starts_are_uniform_in_the_ball(norm: TrainingNorm, power: float) -> None:
    found = random_starts(range(2000), (3,), norm=norm, context=InMemoryContext())
    radii = found.norm(p=power, dim=1)

    # the radius cubed is uniform in [0, 1]
    assert 0.5 == pytest.approx(float(radii.pow(3).mean()), abs=0.03)
    assert float(found.mean(0).abs().max()) < 0.05


def test_a_perturbation_does_not_depend_on_who_else_is_attacked(given: EvaluationInputs) -> None:
    few = SampleSubset(given.test, torch.tensor([3, 66]))
    model = cast(BlockNetwork, given.reference)
    alone = compute_perturbations(model, few, attack=STRONG[1], context=InMemoryContext())

    torch.testing.assert_close(deltas(given, STRONG[1])[[3, 66]], alone, rtol=1e-4, atol=1e-5)


def test_of_both_signs_of_the_singular_direction_the_stronger_is_taken(
    given: EvaluationInputs,
) -> None:
    attack = TopSingularAttack(kind="top_singular", eps=0.5)
    model, inputs, found = (
        cast(BlockNetwork, given.reference),
        given.test.inputs(torch.arange(70)),
        deltas(given, attack),
    )
    with torch.no_grad():
        there, back = (
            (model((inputs + d).clamp(0, 1)) - model(inputs)).norm(dim=1) for d in (found, -found)
        )

    # clipped to the box, the two are not each other's mirror image for a few
    assert (there >= back - 1e-5).double().mean() > 0.9


def test_progress_is_told(given: EvaluationInputs) -> None:
    context = InMemoryContext()
    compute_perturbations(
        cast(Callable[[Tensor], Tensor], given.reference),
        given.test,
        attack=STRONG[2],
        context=context,
    )

    assert [{"done": 64, "total": 70}, {"done": 70, "total": 70}] == context.told
