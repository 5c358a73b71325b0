"""What each attack gave when its version was set; a failure after a change of meaning says: raise `version`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.samples import Arrays
from advtransfer.toolkit.streams import generator, initialised
from advtransfer.types import DataCard, Evaluation, Given
from advtransfer_foolbox import fgsm, pgd


def network() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 3))

    return initialised(build, generator("golden")).eval()


def own_classes(model: nn.Module) -> Arrays:
    """Random images with the classes that the model gives them."""
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", 3, ("a", "b", "c"), "")
    inputs = torch.rand((20, 1, 4, 4), generator=generator("golden images"))
    return Arrays(card=card, inputs=inputs, labels=model(inputs).argmax(1))


@pytest.mark.parametrize(
    ("evaluation", "outcomes", "total"),
    [
        (fgsm(norm="linf", eps=0.1, random_start=True), "00000101000001100100", 32.4069),
        (pgd(norm="linf", eps=0.15, steps=4, step_size=0.06), "01000101010101110101", 75.7177),
        (pgd(norm="l2", eps=0.8, steps=4, step_size=0.3, restarts=2), "11101111110111111111", 143.4625),
    ],
    ids=["fgsm linf", "pgd linf", "pgd l2"],
)
def test_the_outcomes_and_examples_are_those_of_this_version(
    evaluation: Evaluation, outcomes: str, total: float
) -> None:
    model = network()
    found = evaluation.measure(Given(test=own_classes(model), model=model), context=InMemoryContext())
    (examples,) = found.examples

    assert outcomes == "".join(str(outcome) for outcome in found.outcomes[examples.metric].tolist())
    assert total == pytest.approx(examples.inputs.sum().item(), abs=1e-3)
