"""Directions of the attack: the two against each other, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import DataCard, EvaluationInputs, Measurement
from advtransfer_alignment.components import alignment
from advtransfer_alignment.options import (
    Attack,
    LabelFreeFgsm,
    Spectrum,
    TopSingularAttack,
    VirtualAttack,
)


def measure(evaluation_inputs: EvaluationInputs, attack: Attack, *, most: int = 32) -> Measurement:
    spectrum = Spectrum(most_outputs=most, iterations=30)
    return alignment(attack=attack, spectrum=spectrum).measure(
        evaluation_inputs, context=InMemoryContext()
    )


def mirrored(name: str) -> str:
    """Return the metric's name with source and reference exchanged."""
    for ending, other in (("_st", "_ts"), ("_ts", "_st"), ("_s", "_t"), ("_t", "_s")):
        if name.endswith(ending):
            return name.removesuffix(ending) + other
    return name


@pytest.mark.parametrize("most", [0, 32])
@pytest.mark.parametrize(
    "attack",
    [
        VirtualAttack(kind="virtual", eps=0.4, steps=3),
        TopSingularAttack(kind="top_singular", eps=0.1),
    ],
)
def test_exchanging_the_models_exchanges_the_directions(
    evaluation_inputs: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    network: Callable[..., BlockNetwork],
    attack: Attack,
    most: int,
) -> None:
    test = labelled(torch.zeros(70, 3), task="values", bounds=None)
    pair = EvaluationInputs(test=test, source=network("one"), reference=network("other"))
    swapped = EvaluationInputs(test=test, source=pair.reference, reference=pair.source)
    metrics, exchanged = (measure(inputs, attack, most=most).metrics for inputs in (pair, swapped))
    directed = {name for name in metrics if mirrored(name) != name} | {
        "tau_1",
        "kept_tau_1",
        "cosine",
    }

    assert {
        "alpha_1",
        "alpha_2",
        "joint",
        "tau_2",
        "tau_2_attack",
        "function_distance",
        "feature_distance",
    } <= {name.removesuffix("_st") for name in directed}
    assert {"lambda_max_s", "lambda_mean_t"} <= directed
    assert (most > 0) == ("gradient_distance_st" in directed)
    for name in directed:
        assert metrics[name] == pytest.approx(exchanged[mirrored(name)], rel=1e-6, abs=1e-9), name
    assert metrics["alpha_1_st"] != pytest.approx(metrics["alpha_1_ts"], rel=0.01)


def linear(*weights: float) -> BlockNetwork:
    """Return a classifier by the sign of a weighted sum: class 0 where it is above 0."""
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([weights, [-weight for weight in weights]]))
    return BlockNetwork({"flat": nn.Flatten()}, head).eval()


def test_error_rates_are_those_of_two_linear_models_by_hand() -> None:
    # f_S = 2 a + b and f_T = b. A step of 1 against f_S's sign moves a and b, so f_S by 3 and f_T
    # by 1. A step against f_T's sign moves b only, so both by 1.
    points = torch.tensor(
        [
            [5.0, -0.9],  # tt; f_S's step takes b further away from 0
            [0.5, 1.5],  # ss
            [0.2, 0.5],  # ss, st, tt, ts
            [5.0, 0.5],  # st, tt
            [5.0, -0.5],  # tt
            [-0.2, 3.0],  # ss
            [-1.2, 3.0],  # ss, ts
            [-1.1, 2.5],  # ss, ts
            [0.2, 0.5],  # all four, but f_T has it wrong
        ]
    )
    labels = (points[:, 1] <= 0).long()
    labels[-1] = 1 - labels[-1]
    card = DataCard((2,), None, "classes", 2, ("above", "below"), "")
    test = ArraySamples(card=card, inputs=points, labels=labels)
    measurement = measure(
        EvaluationInputs(test=test, source=linear(2, 1), reference=linear(0, 1)),
        LabelFreeFgsm(kind="fgsm", eps=1, random_start=False),
    )
    rates = {way: measurement.metrics[f"error_rate_{way}"] for way in ("ss", "st", "tt", "ts")}

    assert {"ss": 5 / 8, "st": 2 / 8, "tt": 4 / 8, "ts": 3 / 8} == pytest.approx(rates)
    assert [0, 1, 1, 0, 0, 1, 1, 1] == measurement.samples["error_rate_ss"][:8].tolist()
    assert [0, 0, 1, 1, 0, 0, 0, 0] == measurement.samples["error_rate_st"][:8].tolist()
    assert 1 / 9 == pytest.approx(measurement.metrics["reference_error"])
    # Attacks on either model move b by 1.
    assert 1 == pytest.approx(measurement.metrics["alpha_1_st"])
    assert 1 / 3 == pytest.approx(measurement.metrics["alpha_1_ts"])


def test_attack_and_tau_1_use_the_same_spectrum(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    free = replace(
        evaluation_inputs,
        test=labelled(evaluation_inputs.test.labels(torch.arange(70)), bounds=None),
    )
    attack = TopSingularAttack(kind="top_singular", eps=0.01)
    rough = alignment(attack=attack, spectrum=Spectrum(most_outputs=0, iterations=1))
    metrics = rough.measure(free, context=InMemoryContext()).metrics
    exact = measure(free, attack).metrics

    assert metrics["power_residual_s"] > 0.01
    assert metrics["tau_1"] == pytest.approx(metrics["cosine_squared"], rel=1e-4)
    assert exact["tau_1"] == pytest.approx(exact["cosine_squared"], rel=1e-4)
    assert metrics["loss_transfer"] != exact["loss_transfer"]
