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


def perturbations(evaluation_inputs: EvaluationInputs, attack: Attack) -> Tensor:
    model = cast(BlockNetwork, evaluation_inputs.reference)
    return compute_perturbations(
        model, evaluation_inputs.test, attack=attack, context=InMemoryContext()
    )


@pytest.mark.parametrize("attack", STRONG, ids=lambda attack: f"{attack.kind} {norm_of(attack)}")
def test_perturbed_images_stay_in_the_ball_and_in_the_box(
    evaluation_inputs: EvaluationInputs, attack: Attack
) -> None:
    deltas = perturbations(evaluation_inputs, attack)
    adversarial = evaluation_inputs.test.inputs(torch.arange(70)) + deltas
    norm = torch.inf if norm_of(attack) == "linf" else 2

    assert deltas.flatten(1).norm(p=norm, dim=1).max() <= attack.eps * (1 + 1e-5)
    assert adversarial.min() >= -1e-6
    assert adversarial.max() <= 1 + 1e-6
    assert deltas.flatten(1).norm(dim=1).min() > 0


@pytest.mark.parametrize("attack", STRONG, ids=lambda attack: f"{attack.kind} {norm_of(attack)}")
def test_an_attack_moves_the_outputs_further_than_its_random_start(
    evaluation_inputs: EvaluationInputs, attack: Attack
) -> None:
    model, inputs = (
        cast(BlockNetwork, evaluation_inputs.reference),
        evaluation_inputs.test.inputs(torch.arange(70)),
    )
    noise = random_starts(
        list(evaluation_inputs.test.keys),
        (1, 4, 4),
        norm=norm_of(attack),
        context=InMemoryContext(),
    )
    with torch.no_grad():
        moves = [
            (model((inputs + delta).clamp(0, 1)) - model(inputs)).norm(dim=1).mean()
            for delta in (perturbations(evaluation_inputs, attack), attack.eps * noise)
        ]

    assert moves[0] > 1.5 * moves[1]


def test_a_sample_starts_at_the_same_point_in_every_order_and_for_every_model(
    evaluation_inputs: EvaluationInputs,
) -> None:
    context, keys = InMemoryContext(), [5, 2, 9]
    starts = random_starts(keys, (1, 4, 4), norm="linf", context=context)

    assert starts[1:].equal(random_starts(keys[1:], (1, 4, 4), norm="linf", context=context))
    assert starts.abs().max() <= 1


@pytest.mark.parametrize(("norm", "power"), [("linf", torch.inf), ("l2", 2)])
def test_starts_are_uniform_in_the_ball(norm: TrainingNorm, power: float) -> None:
    starts = random_starts(range(2000), (3,), norm=norm, context=InMemoryContext())
    radii = starts.norm(p=power, dim=1)

    # The cubed radius is uniform in [0, 1].
    assert 0.5 == pytest.approx(float(radii.pow(3).mean()), abs=0.03)
    assert float(starts.mean(0).abs().max()) < 0.05


def test_perturbation_does_not_depend_on_the_other_samples(
    evaluation_inputs: EvaluationInputs,
) -> None:
    few = SampleSubset(evaluation_inputs.test, torch.tensor([3, 66]))
    model = cast(BlockNetwork, evaluation_inputs.reference)
    alone = compute_perturbations(model, few, attack=STRONG[1], context=InMemoryContext())

    torch.testing.assert_close(
        perturbations(evaluation_inputs, STRONG[1])[[3, 66]], alone, rtol=1e-4, atol=1e-5
    )


def test_stronger_sign_of_the_singular_direction_is_taken(
    evaluation_inputs: EvaluationInputs,
) -> None:
    attack = TopSingularAttack(kind="top_singular", eps=0.5)
    model = cast(BlockNetwork, evaluation_inputs.reference)
    inputs = evaluation_inputs.test.inputs(torch.arange(70))
    deltas = perturbations(evaluation_inputs, attack)
    with torch.no_grad():
        forward, backward = (
            (model((inputs + delta).clamp(0, 1)) - model(inputs)).norm(dim=1)
            for delta in (deltas, -deltas)
        )

    # Clipped to the box, the two are not each other's mirror image for a few samples.
    assert (forward >= backward - 1e-5).double().mean() > 0.9


def test_progress_is_reported(evaluation_inputs: EvaluationInputs) -> None:
    context = InMemoryContext()
    compute_perturbations(
        cast(Callable[[Tensor], Tensor], evaluation_inputs.reference),
        evaluation_inputs.test,
        attack=STRONG[2],
        context=context,
    )

    assert [{"done": 64, "total": 70}, {"done": 70, "total": 70}] == context.told
