"""Modules of a ResNet-50 that Utrera et al. (2021) train, by number of blocks (section 4, their code)."""

from __future__ import annotations

import pytest
from torch import nn

from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard
from advtransfer_finetune.components import blocks
from advtransfer_vision.networks import SizedNetwork, build_network


@pytest.fixture(scope="module")
def card() -> DataCard:
    return toy(shape=(3, 16, 16)).card()


@pytest.fixture(scope="module")
def resnet50(card: DataCard) -> BlockNetwork:
    network = SizedNetwork(name="resnet50", width=2)
    return build_initialized(
        lambda: build_network(network, data=card), stream_generator("resnet50")
    ).eval()


@pytest.mark.parametrize(
    ("count", "stages", "convolutions"),
    [
        (0, [], 0),
        (1, ["layer4_2"], 3),
        (3, [f"layer4_{unit}" for unit in range(3)], 9 + 1),
        (
            9,
            [f"layer3_{unit}" for unit in range(6)] + [f"layer4_{unit}" for unit in range(3)],
            27 + 2,
        ),
    ],
)
def test_the_last_blocks_of_a_resnet50_are_the_modules_that_the_paper_trains(
    resnet50: BlockNetwork, card: DataCard, count: int, stages: list[str], convolutions: int
) -> None:
    model = blocks(blocks=count).model(source=resnet50, adapter=None, target=card)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad} - {
        "head.weight",
        "head.bias",
    }
    weights = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and f"{name}.weight" in trained
    ]

    assert set(stages) == {name.split(".")[2] for name in trained}
    assert convolutions == len(weights)
    assert trained == {
        f"network.{name}"
        for name, _ in resnet50.named_parameters()
        if name.startswith("body.") and name.split(".")[1] in stages
    }
