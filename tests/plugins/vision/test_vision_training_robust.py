"""Adversarial training reaches its purpose on real images: minutes long, and it needs Fashion-MNIST.

`pytest -m slow --log-cli-level=INFO` shows the numbers.
"""

from __future__ import annotations

import logging
import os
from typing import cast

import pytest
import torch
from torch import nn

from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import (
    DataCard,
    Dataset,
    Evaluation,
    EvaluationInputs,
    Json,
    Outcome,
    Part,
    Samples,
)
from advtransfer_vision.components import datasets, training
from advtransfer_vision.networks import SizedNetwork

logger = logging.getLogger(__name__)

EPS = 0.1
TRAINED_ON, MEASURED_ON = 10_000, 1_000
needs_data = pytest.mark.skipif(
    "ADVTRANSFER_DATA" not in os.environ,
    reason="needs FashionMNIST in the folder that ADVTRANSFER_DATA names",
)


class Fewer:
    """The first images of each part."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def card(self) -> DataCard:
        return self._dataset.card()

    def part(self, name: Part) -> Samples:
        return SampleSubset(
            self._dataset.part(name), torch.arange(TRAINED_ON if name == "train" else MEASURED_ON)
        )


def _built(adversary: Adversary | None, fashion: Dataset) -> nn.Module:
    """A source by the recipe that was chosen on 1,000 held-back training images, never on test images."""
    source = training.trained(
        data=fashion,
        network=SizedNetwork(name="mnist_2conv", width=8),
        adversary=adversary,
        epochs=8,
        batch_size=64,
        optimiser=Adam(lr=3e-3),
    )
    network = cast(nn.Module, source.network())
    network.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    freeze_weights(network.eval())
    return network


def _robust(model: nn.Module, test: Samples) -> tuple[float, float]:
    """Clean and robust accuracy under Foolbox's PGD: 20 steps of 2.5 eps / 20, the worst of two random starts."""
    component = Host.discover().component("foolbox/pgd")
    options: dict[str, Json] = {
        "norm": "linf",
        "eps": EPS,
        "steps": 20,
        "step_size": 2.5 * EPS / 20,
        "restarts": 2,
    }
    evaluation = cast(Evaluation, component.build(component.options.validate(options)[0], {}))
    outcomes = evaluation.measure(
        EvaluationInputs(test=test, model=model), context=InMemoryContext()
    ).outcomes
    robust = outcomes[f"robust_accuracy@{EPS:g}"]
    assert not (robust == Outcome.UNKNOWN).any()
    return 1 - (robust == Outcome.WRONG).double().mean().item(), (
        robust == Outcome.ROBUST
    ).double().mean().item()


@pytest.mark.slow
@needs_data
def test_training_against_pgd_makes_fashion_mnist_at_least_30_points_more_robust() -> None:
    fashion = Fewer(datasets.torchvision(name="FashionMNIST"))
    test = fashion.part("test")
    clean, natural = _robust(_built(None, fashion), test)
    defended_clean, defended = _robust(_built(Adversary(eps=EPS, steps=5), fashion), test)
    numbers = f"natural {clean:.3f} clean, {natural:.3f} robust; PGD {defended_clean:.3f} clean, {defended:.3f} robust"

    logger.info(numbers)

    assert defended >= natural + 0.30, numbers
    assert min(clean, defended_clean) >= 0.70, numbers
