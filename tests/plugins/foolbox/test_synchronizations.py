"""How often the host waits for the device during an attack."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.testing.pretend_cuda.synchronizations import count_synchronizations
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Outcome
from advtransfer_foolbox.components.autoattack import apgd
from advtransfer_foolbox.components.gradient import fgsm, pgd

CONSTANT = 40
"""Synchronizations of a measurement itself: predictions, starts, judgement, and the results."""


class Model(nn.Module):
    """A linear model that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -1.0] * 8, [-1.0, 1.0] * 8]))
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return inputs.flatten(1) @ self.weight.t()


def counted(evaluation: Evaluation, count: int) -> tuple[Counter[str], int, Tensor]:
    """Return the synchronizations, the model's calls and the outcomes of some random images."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand((count, 1, 4, 4), generator=generator)
    model = Model()
    labels = model(inputs).argmax(1)
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", 2, ("below", "above"), "")
    test = ArraySamples(card=card, inputs=inputs, labels=labels)
    with pretend_cuda():
        model = model.eval().to("cuda")
        model.calls = 0
        context = InMemoryContext(device="cuda")
        with count_synchronizations() as counts:
            measured = evaluation.measure(EvaluationInputs(test=test, model=model), context=context)
    (outcomes,) = (found for name, found in measured.outcomes.items() if "@" in name)
    return counts, model.calls, outcomes


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_waits_once_in_8_model_calls_whatever_the_number_of_samples(norm: Norm) -> None:
    eps = {"linf": 0.05, "l2": 0.15}[norm]
    evaluation = pgd(norm=norm, eps=eps, steps=40, step_size=eps / 10)
    few, few_calls, _ = counted(evaluation, 100)
    many, many_calls, outcomes = counted(evaluation, 1000)

    assert {Outcome.ROBUST, Outcome.BROKEN} == set(outcomes.tolist())
    assert few == many
    assert few_calls == many_calls
    assert sum(many.values()) <= CONSTANT + many_calls / 8


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_apgd_waits_once_in_8_model_calls_whatever_the_number_of_samples(
    norm: Norm, loss: Literal["cross_entropy", "margin"]
) -> None:
    eps = {"linf": 0.05, "l2": 0.15}[norm]
    evaluation = apgd(norm=norm, eps=eps, steps=39, restarts=1, loss=loss)
    few, few_calls, _ = counted(evaluation, 100)
    many, many_calls, outcomes = counted(evaluation, 1000)

    assert {Outcome.ROBUST, Outcome.BROKEN} == set(outcomes.tolist())
    assert few == many
    assert few_calls == many_calls
    assert sum(many.values()) <= CONSTANT + many_calls / 8


def test_more_restarts_wait_as_often_each() -> None:
    totals = [
        sum(
            counted(pgd(norm="linf", eps=0.01, steps=40, step_size=0.002, restarts=restarts), 1000)[
                0
            ].values()
        )
        for restarts in (1, 2, 3)
    ]

    assert totals[2] - totals[1] == totals[1] - totals[0] <= 8 + 41 / 8


def test_a_single_step_waits_for_no_sample() -> None:
    few, _, _ = counted(fgsm(norm="linf", eps=0.05), 100)
    many, calls, _ = counted(fgsm(norm="linf", eps=0.05), 1000)

    assert few == many
    assert 3 == calls
    assert sum(many.values()) <= CONSTANT
