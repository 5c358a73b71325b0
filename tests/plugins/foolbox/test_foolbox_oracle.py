"""Attacks that look for the nearest example beside the nearest there is: of a linear model, that is closed form."""

from __future__ import annotations

import math
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Evaluation, EvaluationInputs
from advtransfer_foolbox.components.minimization import boundary, carlini_wagner, deepfool

Case: TypeAlias = tuple[nn.Sequential, ArraySamples]


def exact(case: Case, norm: Norm) -> Tensor:
    """The distance of each sample's nearest example in the box, ``(N,)`` float64; 0 for a wrong one."""
    (_, layer), test = case
    assert isinstance(layer, nn.Linear)
    pixels, labels = (
        test.inputs(all_positions(test)).flatten(1).double(),
        test.labels(all_positions(test)),
    )
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    nearest = torch.full((len(test),), math.inf, dtype=torch.float64)
    for other in range(layer.out_features):
        along = weight[other] - weight[labels]
        needed = -((along * pixels).sum(1) + bias[other] - bias[labels])
        room = torch.where(along > 0, 1 - pixels, pixels)
        found = smallest(along.abs(), room, needed.clamp_min(0), norm)
        nearest = torch.minimum(nearest, found.masked_fill(labels == other, math.inf))
    return nearest


def smallest(gain: Tensor, room: Tensor, needed: Tensor, norm: Norm) -> Tensor:
    """The least size of a move of at most `room` ``(N, D)`` that gains what is needed ``(N,)``; infinite if none does.

    In l_inf all pixels move alike, in l_2 in proportion to their gain: each move grows with one number, which is found
    by bisection.
    """
    low, high = torch.zeros_like(needed), torch.full_like(needed, 1e4)

    def move(number: Tensor) -> Tensor:
        return torch.minimum(
            number[:, None] * (gain if norm == "l2" else torch.ones_like(gain)), room
        )

    for _ in range(80):
        middle = (low + high) / 2
        enough = (gain * move(middle)).sum(1) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    sizes: Tensor = torch.linalg.vector_norm(
        move(high), ord={"linf": math.inf, "l2": 2}[norm], dim=1
    )
    return sizes.masked_fill((gain * room).sum(1) < needed, math.inf)


@pytest.mark.parametrize(
    ("evaluation", "norm", "most"),
    [
        (deepfool(norm="linf", eps=0.1), "linf", 0.05),
        (deepfool(norm="l2", eps=0.5), "l2", 0.3),
        (
            carlini_wagner(
                eps=0.5, steps=40, step_size=0.05, binary_search_steps=4, initial_const=0.1
            ),
            "l2",
            0.5,
        ),
        (boundary(eps=0.5, steps=400), "l2", 6),
    ],
    ids=["deepfool linf", "deepfool l2", "carlini_wagner", "boundary"],
)
def test_no_attack_finds_an_example_nearer_than_the_nearest_and_half_of_them_come_close(
    evaluation: Evaluation, norm: Norm, most: float, linear_digits: Case
) -> None:
    model, test = linear_digits
    nearest = exact(linear_digits, norm)
    found = evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())
    distance, right = found.samples["distance"], nearest > 1e-9
    over = distance[right] / nearest[right] - 1

    assert right.tolist() == (distance > 0).tolist()
    assert over.min() > -1e-4
    assert over.median() < most
    assert distance[right].median().item() == pytest.approx(found.metrics["median_distance"])
