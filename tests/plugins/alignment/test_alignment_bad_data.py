"""Refusal of data that does not match its card, by every evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import Evaluation, EvaluationInputs
from advtransfer_alignment.components import alignment, h_score, leep, logme, transfer_loss
from advtransfer_alignment.options import (
    Attack,
    LabelFreeFgsm,
    LabelFreePgd,
    TopSingularAttack,
    VirtualAttack,
)

STEP = LabelFreeFgsm(kind="fgsm", eps=0.1)
EVALUATIONS: list[Evaluation] = [
    alignment(attack=STEP),
    transfer_loss(),
    leep(),
    h_score(),
    logme(),
]
ATTACKED: list[Callable[..., Evaluation]] = [alignment, leep, h_score, logme]


def measure(
    evaluation: Evaluation, evaluation_inputs: EvaluationInputs, data: ArraySamples
) -> None:
    whole = replace(evaluation_inputs, test=data, train=data, model=evaluation_inputs.reference)  # type: ignore[arg-type]  # a network of the toolkit
    evaluation.measure(whole, context=InMemoryContext())


@pytest.mark.parametrize(
    "evaluation", EVALUATIONS, ids=lambda evaluation: type(evaluation).__name__
)
@pytest.mark.parametrize("label", [-100, -1, 3, 7])
def test_label_outside_the_classes_is_refused(
    evaluation_inputs: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    evaluation: Evaluation,
    label: int,
) -> None:
    labels = torch.arange(70) % 3
    labels[5] = label

    with pytest.raises(
        ValueError, match=r"found labels from .* expected 0 to 2, the target's classes"
    ):
        measure(evaluation, evaluation_inputs, labelled(labels))


@pytest.mark.parametrize(
    "evaluation", EVALUATIONS, ids=lambda evaluation: type(evaluation).__name__
)
@pytest.mark.parametrize("labels", [torch.zeros(70, 3, dtype=torch.int64), torch.zeros(70)])
def test_labels_of_another_task_are_refused(
    evaluation_inputs: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    evaluation: Evaluation,
    labels: Tensor,
) -> None:
    with pytest.raises(
        ValueError, match=r"found labels of shape .* expected integers of shape \(70,\), classes"
    ):
        measure(evaluation, evaluation_inputs, labelled(labels))


@pytest.mark.parametrize("evaluation", [EVALUATIONS[0], EVALUATIONS[1], EVALUATIONS[4]])
def test_attributes_are_0_or_1(
    evaluation_inputs: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    evaluation: Evaluation,
) -> None:
    with pytest.raises(
        ValueError, match="labels from 0 to 2; expected 0 to 1, the target's attributes"
    ):
        measure(
            evaluation,
            evaluation_inputs,
            labelled(torch.arange(210).reshape(70, 3) % 3, task="attributes"),
        )


@pytest.mark.parametrize(
    "evaluation",
    [alignment(attack=VirtualAttack(kind="virtual", eps=0.1, steps=1)), transfer_loss(), logme()],
)
@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [((70, 3), torch.nan, "not finite for 70 of 70"), ((70, 1), 0.0, r"shape \(70, 1\)")],
)
def test_values_are_finite_and_as_many_as_outputs(
    evaluation_inputs: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    evaluation: Evaluation,
    shape: tuple[int, int],
    value: float,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(evaluation, evaluation_inputs, labelled(torch.full(shape, value), task="values"))


@pytest.mark.parametrize("factory", ATTACKED, ids=lambda factory: str(factory.__name__))
@pytest.mark.parametrize(
    "attack",
    [
        LabelFreePgd(eps=0.1, steps=1),
        STEP,
        VirtualAttack(kind="virtual", eps=0.1, steps=1),
        TopSingularAttack(kind="top_singular", eps=0.1),
    ],
    ids=lambda attack: f"{attack.kind}",
)
@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, 1.01), (-0.01, 1.0)])
def test_images_outside_the_bounds_on_the_card_are_refused(
    evaluation_inputs: EvaluationInputs,
    factory: Callable[..., Evaluation],
    attack: Attack,
    low: float,
    high: float,
) -> None:
    inputs = evaluation_inputs.test.inputs(torch.arange(70)).clone()
    inputs[66, 0, 0, :2] = torch.tensor([low, high])
    data = ArraySamples(
        card=evaluation_inputs.test.card, inputs=inputs, labels=torch.arange(70) % 3
    )

    with pytest.raises(
        ValueError, match=r"found pixels from .* expected 0 to 1, the bounds on the card; correct"
    ):
        measure(factory(attack=attack), evaluation_inputs, data)


def test_images_within_other_bounds_or_none_are_measured(
    evaluation_inputs: EvaluationInputs,
) -> None:
    inputs, labels = 3 * evaluation_inputs.test.inputs(torch.arange(70)) - 1, torch.arange(70) % 3
    for bounds in ((-1.0, 2.0), None):
        card = replace(evaluation_inputs.test.card, bounds=bounds)

        measure(
            leep(attack=STEP),
            evaluation_inputs,
            ArraySamples(card=card, inputs=inputs, labels=labels),
        )


def test_a_radius_that_the_box_has_no_room_for_is_refused_by_estimates(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    with pytest.raises(ValueError, match=r"found eps 1\.5; expected 0 to 1 for"):
        measure(
            leep(attack=LabelFreePgd(eps=1.5)), evaluation_inputs, labelled(torch.arange(70) % 3)
        )
