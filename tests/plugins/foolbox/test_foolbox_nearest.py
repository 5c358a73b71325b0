"""Attacks that look for the nearest example: distances, what is left unfinished, and where walks begin."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Measurement, Outcome
from advtransfer_foolbox.components.minimization import boundary, carlini_wagner, deepfool

SHAPE = (1, 2, 2)


class Ring(nn.Module):
    """Class 1 where the mean pixel is above 0.6; what the logits are multiplied by is `scale`."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        lead = self.scale * (inputs.flatten(1).mean(1, keepdim=True) - 0.6)
        return torch.cat([-lead, lead], 1)


def flat(*values: float) -> ArraySamples:
    """Images of one grey each, the last of them with a wrong class."""
    labels = torch.tensor([int(value > 0.6) for value in values])
    labels[-1] = 1 - labels[-1]
    card = DataCard(SHAPE, (0.0, 1.0), "classes", 2, ("dark", "light"), "")
    return ArraySamples(
        card=card,
        inputs=torch.tensor(values).view(-1, 1, 1, 1).expand(-1, *SHAPE).clone(),
        labels=labels,
    )


def measure(evaluation: Evaluation, test: ArraySamples, model: nn.Module) -> Measurement:
    return evaluation.measure(
        EvaluationInputs(test=test, model=model.eval()), context=InMemoryContext()
    )


@pytest.mark.parametrize(
    ("evaluation", "side", "most"),
    [
        (deepfool(norm="linf", eps=(0.15, 0.25)), 1.0, 0.03),
        (deepfool(norm="l2", eps=(0.3, 0.5)), 2.0, 0.03),
        (carlini_wagner(eps=(0.3, 0.5), steps=60, step_size=0.02), 2.0, 0.05),
        (boundary(eps=(0.3, 0.5), steps=1000), 2.0, 0.12),
    ],
    ids=["deepfool linf", "deepfool l2", "carlini_wagner", "boundary"],
)
def test_distances_equal_those_to_the_boundary_and_determine_the_outcomes(
    evaluation: Evaluation, side: float, most: float
) -> None:
    measured = measure(evaluation, flat(0.5, 0.4, 0.3, 0.8, 0.2), Ring())
    away = measured.samples["distance"]
    low, high = (measured.outcomes[one.metric].tolist() for one in measured.examples)

    assert [pytest.approx(exact * side, rel=most) for exact in (0.1, 0.2, 0.3, 0.2)] == away[
        :4
    ].tolist()
    assert 0.0 == away[4].item()
    assert [Outcome.BROKEN, Outcome.ROBUST, Outcome.ROBUST, Outcome.ROBUST, Outcome.WRONG] == low
    assert [Outcome.BROKEN, Outcome.BROKEN, Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG] == high
    assert away[:4].sort().values[1].item() == measured.metrics["median_distance"]


def test_walk_without_a_starting_point_is_unknown_and_has_no_distance() -> None:
    class Dark(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0]).expand(len(inputs), 2)

    measured = measure(boundary(eps=0.5, steps=10), flat(0.1, 0.2, 0.3), Dark())

    assert [Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.WRONG] == measured.outcomes[
        "robust_accuracy@0.5"
    ].tolist()
    assert [math.inf, math.inf, 0.0] == measured.samples["distance"].tolist()
    assert "median_distance" not in measured.metrics


class Torn(Ring):
    """The same with a gradient that is NaN on images darker than 0.35."""

    def forward(self, inputs: Tensor) -> Tensor:
        one = (inputs.flatten(1).mean(1, keepdim=True) > 0.35).float()
        return super().forward(inputs) + (0 * inputs.flatten(1)[:, :1] + one).sqrt() - one


@pytest.mark.parametrize(
    "evaluation",
    [deepfool(norm="l2", eps=(0.5, 0.9)), carlini_wagner(eps=(0.5, 0.9), steps=30, step_size=0.02)],
)
def test_search_with_a_nan_gradient_is_unknown_at_every_radius(
    evaluation: Evaluation,
) -> None:
    measured = measure(evaluation, flat(0.5, 0.3, 0.9), Torn())

    for eps in (0.5, 0.9):
        assert [Outcome.BROKEN, Outcome.UNKNOWN, Outcome.WRONG] == measured.outcomes[
            f"robust_accuracy@{eps}"
        ].tolist()
