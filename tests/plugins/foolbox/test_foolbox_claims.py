"""What the accuracy under an attack is called: what is called robust is held against a battery by the host."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import DataCard, Evaluation, EvaluationInputs
from advtransfer_foolbox.attack_settings import DeepFool, Fgsm, Noise, Pgd, accuracy_metric
from advtransfer_foolbox.components.ensembles import ensemble, noise
from advtransfer_foolbox.components.gradient import basic_iterative, fgsm, pgd
from advtransfer_foolbox.components.minimization import carlini_wagner, deepfool

FGSM, NOISE = Fgsm(kind="fgsm"), Noise(kind="noise")
ONE, TWO = (Pgd(kind="pgd", steps=steps, step_size=0.1) for steps in (1, 2))
LAST = Pgd(kind="pgd", steps=20, step_size=0.1, examples="last")


def named(evaluation: Evaluation) -> list[str]:
    """The outcome metrics under attack, which are those of the examples."""
    card = DataCard((1, 2, 2), (0.0, 1.0), "classes", 2, ("a", "b"), "")
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    inputs = torch.full((2, 1, 2, 2), 0.5)
    test = ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))
    found = evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())
    attacked = [name for name in found.outcomes if "@" in name]

    assert [examples.metric for examples in found.examples] == attacked
    return attacked


@pytest.mark.parametrize(
    "evaluation",
    [
        fgsm(norm="l1", eps=0.1),
        noise(norm="linf", eps=0.1, draws=3),
        pgd(norm="linf", eps=0.1, steps=1, step_size=0.1),
        pgd(norm="linf", eps=0.1, steps=1, step_size=0.1, restarts=3),
        pgd(norm="linf", eps=0.1, steps=3, step_size=0.1, examples="last"),
        basic_iterative(norm="linf", eps=0.1, steps=1, step_size=0.1),
        deepfool(norm="l2", eps=0.1, steps=1),
        ensemble(norm="l2", eps=0.1, attacks=(FGSM, NOISE, ONE)),
    ],
)
def test_a_single_step_noise_and_last_iterates_claim_no_robustness(evaluation: Evaluation) -> None:
    assert ["accuracy@0.1"] == named(evaluation)


@pytest.mark.parametrize(
    "evaluation",
    [
        pgd(norm="linf", eps=0.1, steps=2, step_size=0.1),
        basic_iterative(norm="linf", eps=0.1, steps=2, step_size=0.1),
        deepfool(norm="l2", eps=0.1, steps=2),
        carlini_wagner(eps=0.1, steps=2),
        ensemble(norm="l2", eps=0.1, attacks=(NOISE, TWO)),
    ],
)
def test_an_attack_of_several_steps_claims_robustness(evaluation: Evaluation) -> None:
    assert ["robust_accuracy@0.1"] == named(evaluation)


def test_one_iterative_attack_of_several_claims_robustness() -> None:
    assert "accuracy" == accuracy_metric([FGSM, NOISE, ONE])
    assert (
        "robust_accuracy"
        == accuracy_metric([FGSM, DeepFool(kind="deepfool")])
        == accuracy_metric([TWO])
        == accuracy_metric([TWO, LAST])
    )
    assert "accuracy" == accuracy_metric([LAST, FGSM])
