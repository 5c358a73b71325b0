"""What each attack gave when its version was set; a failure after a change of meaning says: raise `version`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, Evaluation, EvaluationInputs
from advtransfer_foolbox.attack_settings import DeepFool, Noise
from advtransfer_foolbox.components.ensembles import ensemble, noise
from advtransfer_foolbox.components.gradient import basic_iterative, fgsm, pgd
from advtransfer_foolbox.components.minimization import boundary, carlini_wagner, deepfool


def network() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 3))

    return build_initialized(build, stream_generator("golden")).eval()


def own_classes(model: nn.Module) -> ArraySamples:
    """Random images with the classes that the model gives them."""
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", 3, ("a", "b", "c"), "")
    inputs = torch.rand((20, 1, 4, 4), generator=stream_generator("golden images"))
    return ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))


@pytest.mark.parametrize(
    ("evaluation", "outcomes", "total"),
    [
        (fgsm(norm="linf", eps=0.1, random_start=True), "00000001000001100100", 25.7563),
        (fgsm(norm="l1", eps=2), "11001111010111111111", 126.3686),
        (pgd(norm="linf", eps=0.15, steps=4, step_size=0.06), "01000101010101111101", 83.8553),
        (
            pgd(norm="l2", eps=0.8, steps=4, step_size=0.3, restarts=2),
            "11101111111111111111",
            145.4598,
        ),
        (
            pgd(norm="linf", eps=0.15, steps=4, step_size=0.06, examples="last"),
            "01000101010101111101",
            82.389,
        ),
        (pgd(norm="l1", eps=2, steps=4, step_size=1), "01111101111101100110", 108.1904),
        (
            pgd(norm="linf", eps=0.1, steps=4, step_size=0.05, loss="margin"),
            "00000101010001110100",
            50.3306,
        ),
        (
            pgd(norm="linf", eps=0.1, steps=4, step_size=0.05, loss="targeted_margin", targets=1),
            "00000101010001110100",
            50.3306,
        ),
        (basic_iterative(norm="l1", eps=2, steps=4, step_size=1), "11101111110111111111", 140.9572),
        (deepfool(norm="linf", eps=0.1), "00000101010001110100", 50.0451),
        (deepfool(norm="l2", eps=0.5), "11000111010101111111", 108.5516),
        (
            carlini_wagner(
                eps=0.5, steps=20, step_size=0.05, binary_search_steps=3, initial_const=1
            ),
            "11000101010101111111",
            100.1785,
        ),
        (boundary(eps=1, steps=200), "01000101010101010101", 70.001),
        (noise(norm="linf", eps=0.2, draws=10), "00000001000001000100", 19.4088),
        (noise(norm="l2", eps=1, draws=10, noise="gaussian"), "01000011010101111100", 78.1635),
        (
            noise(norm="l1", eps=4, draws=10, noise="salt_and_pepper"),
            "01001111000101101101",
            87.1142,
        ),
        (
            ensemble(norm="l2", eps=0.5, attacks=(Noise(kind="noise"), DeepFool(kind="deepfool"))),
            "11000111010101111111",
            108.1943,
        ),
    ],
)
def test_outcomes_and_examples_equal_the_golden_ones(
    evaluation: Evaluation, outcomes: str, total: float
) -> None:
    model = network()
    found = evaluation.measure(
        EvaluationInputs(test=own_classes(model), model=model), context=InMemoryContext()
    )
    (examples,) = found.examples

    assert outcomes == "".join(str(outcome) for outcome in found.outcomes[examples.metric].tolist())
    assert total == pytest.approx(examples.inputs.sum().item(), abs=1e-3)


def test_outcomes_of_several_radii_equal_the_golden_ones() -> None:
    model = network()
    evaluation = pgd(norm="linf", eps=(0.05, 0.1, 0.15), steps=4, step_size=0.06)
    found = evaluation.measure(
        EvaluationInputs(test=own_classes(model), model=model), context=InMemoryContext()
    )

    assert ["00000000000001000000", "00000101000001100100", "01000101010101111101"] == [
        "".join(str(outcome) for outcome in found.outcomes[one.metric].tolist())
        for one in found.examples
    ]
    assert 122.9065 == pytest.approx(
        sum(one.inputs.sum().item() for one in found.examples), abs=1e-3
    )
