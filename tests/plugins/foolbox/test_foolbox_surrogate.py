"""Models that round: blind attacks without a surrogate, and with one those on the model without the rounding."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import (
    DataCard,
    Evaluation,
    EvaluationInputs,
    Factory,
    Measurement,
    Outcome,
)
from advtransfer_foolbox.components.autoattack import apgd
from advtransfer_foolbox.components.gradient import fgsm, pgd

LEVELS = 16
"""A power of 2, so that float32 holds the grid exactly."""
EPS = 2 / LEVELS


class Rounding(nn.Module):
    """Rounds to a grid: its gradient is 0 almost everywhere."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (LEVELS * inputs).round() / LEVELS


class RoundingWithSurrogate(Rounding):
    """The same, with the identity as its surrogate."""

    def surrogate(self, inputs: Tensor) -> Tensor:
        return inputs


def network(front: nn.Module) -> nn.Sequential:
    source = stream_generator("network")
    layers = nn.Linear(16, 24), nn.Linear(24, 4)
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=source))
            layer.bias.zero_()
    model = nn.Sequential(front, nn.Flatten(), layers[0], nn.Tanh(), layers[1])
    return model.eval().requires_grad_(False)


def on_the_grid(count: int) -> ArraySamples:
    numbers = torch.rand(count, 1, 4, 4, generator=stream_generator("images"))
    inputs = (LEVELS * numbers).round() / LEVELS
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", 4, tuple("abcd"), "")
    return ArraySamples(card=card, inputs=inputs, labels=network(nn.Identity())(inputs).argmax(1))


def measure(evaluation: Evaluation, front: nn.Module) -> Measurement:
    inputs = EvaluationInputs(test=on_the_grid(60), model=network(front))
    return evaluation.measure(inputs, context=InMemoryContext())


Options: TypeAlias = dict[str, Any]  # Any: options as in YAML

ATTACKS: list[tuple[Factory[Evaluation], Options]] = [  # Any: options
    (fgsm, {}),
    (pgd, {"steps": 6, "step_size": 1 / LEVELS, "random_start": False}),
]


@pytest.mark.parametrize(("factory", "options"), ATTACKS, ids=["fgsm", "pgd"])
def test_the_attack_through_the_surrogate_is_that_on_the_identity(
    factory: Factory[Evaluation], options: Options
) -> None:
    """Steps of the grid's width from images on it: rounding changes no iterate, so that not a bit differs."""
    evaluation = factory(norm="linf", eps=EPS, **options)
    found = measure(evaluation, RoundingWithSurrogate())
    expected = measure(evaluation, nn.Identity())
    (name,) = (name for name in found.outcomes if name.endswith(f"@{EPS:g}"))

    assert found.outcomes[name].equal(expected.outcomes[name])
    assert found.examples[0].inputs.equal(expected.examples[0].inputs)
    assert (found.outcomes[name] == Outcome.BROKEN).double().mean() > 0.2


@pytest.mark.parametrize(("factory", "options"), ATTACKS, ids=["fgsm", "pgd"])
def test_without_a_surrogate_the_attack_is_blind(
    factory: Factory[Evaluation], options: Options
) -> None:
    found = measure(factory(norm="linf", eps=EPS, **options), Rounding())
    (name,) = (name for name in found.outcomes if name.endswith(f"@{EPS:g}"))

    assert (found.outcomes[name] == Outcome.ROBUST).all()


def test_every_example_fools_the_model_itself() -> None:
    """Auto-PGD leaves the grid: an example of the identity is one of the model only if the rounded image is."""
    found = measure(apgd(norm="linf", eps=EPS, steps=20), RoundingWithSurrogate())
    (group,) = found.examples
    labels = on_the_grid(60).labels(group.positions)

    assert len(group.positions) > 12
    assert (network(Rounding())(group.inputs).argmax(1) != labels).all()
