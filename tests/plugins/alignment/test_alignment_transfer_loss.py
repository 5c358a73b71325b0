from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import EvaluationInputs, Measurement
from advtransfer_alignment.components import transfer_loss


def measure(evaluation_inputs: EvaluationInputs) -> Measurement:
    return transfer_loss().measure(evaluation_inputs, context=InMemoryContext())


def test_the_loss_of_classes_is_their_mean_cross_entropy(
    evaluation_inputs: EvaluationInputs,
) -> None:
    model = cast(BlockNetwork, evaluation_inputs.reference)
    with torch.no_grad():
        losses = nn.functional.cross_entropy(
            model(evaluation_inputs.test.inputs(torch.arange(70))),
            evaluation_inputs.test.labels(torch.arange(70)),
            reduction="none",
        )
    measurement = measure(EvaluationInputs(test=evaluation_inputs.test, model=model))

    assert float(losses.mean()) == pytest.approx(measurement.metrics["loss"], rel=1e-5)
    torch.testing.assert_close(losses, measurement.samples["loss"], rtol=1e-4, atol=1e-6)


def test_the_loss_of_values_is_the_root_of_their_mean_squared_distance(
    labelled: Callable[..., ArraySamples],
) -> None:
    test = labelled(torch.zeros(4, 3), task="values", bounds=None)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    with torch.no_grad():
        linear = cast(nn.Linear, flat[1])
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([1.0, 2.0, 2.0]))

    measurement = measure(EvaluationInputs(test=test, model=flat))

    assert {"loss": 3.0, "squared_loss": 9.0} == measurement.metrics
    assert [9.0] * 4 == measurement.samples["squared_loss"].tolist()
    assert {"squared_loss"} == measurement.samples.keys()


def test_the_loss_of_attributes_is_their_mean_binary_cross_entropy(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    model = cast(BlockNetwork, evaluation_inputs.reference)
    labels = torch.randint(2, (70, 3), generator=stream_generator("attributes"))
    test = labelled(labels, task="attributes")
    with torch.no_grad():
        outputs = model(test.inputs(torch.arange(70)))
    expected = nn.functional.binary_cross_entropy_with_logits(outputs, labels.float())
    measurement = measure(EvaluationInputs(test=test, model=model))

    assert float(expected) == pytest.approx(measurement.metrics["loss"], rel=1e-5)
    assert float(measurement.samples["loss"].double().mean()) == pytest.approx(
        measurement.metrics["loss"], rel=1e-6
    )


def test_a_model_that_breaks_down_has_no_loss(evaluation_inputs: EvaluationInputs) -> None:
    broken = copy.deepcopy(cast(BlockNetwork, evaluation_inputs.reference))
    with torch.no_grad():
        cast(nn.Linear, broken.head).bias[0] = torch.inf

    with pytest.raises(ValueError, match="not finite"):
        measure(EvaluationInputs(test=evaluation_inputs.test, model=broken))


def test_a_model_of_other_outputs_than_the_target_is_refused(
    evaluation_inputs: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    network: Callable[..., BlockNetwork],
) -> None:
    test = labelled(torch.zeros(70, 3), task="values")

    with pytest.raises(ValueError, match="a model of 1 outputs; expected 3"):
        measure(EvaluationInputs(test=test, model=network("model", outputs=1)))


def test_no_model_is_an_error(evaluation_inputs: EvaluationInputs) -> None:
    with pytest.raises(ValueError, match="found no model"):
        measure(evaluation_inputs)
