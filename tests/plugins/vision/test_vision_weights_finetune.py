"""Block fine-tuning of an architecture by name: it trains the very modules that the paper names."""

from __future__ import annotations

from functools import cache
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.prediction import predict
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer.types import Network, Source
from advtransfer_finetune.components import blocks, linear_probe
from advtransfer_vision.components.pretrained_sources import torchvision_model

PAPER = {
    0: (),
    1: ("layer4.2",),
    3: ("layer4.0", "layer4.1", "layer4.2"),
    9: (*(f"layer3.{block}" for block in range(6)), "layer4.0", "layer4.1", "layer4.2"),
}
"""Utrera et al. (2021), settings by the number of fine-tuned blocks: what is trained beside the head."""

DATA = toy(classes=4, train=24, test=12, shape=(3, 40, 40))


@cache
def resnet50() -> Network:
    return torchvision_model(architecture="resnet50", outputs=10, pixels=32).network()


def squeezenet() -> Source:
    return torchvision_model(architecture="squeezenet1_1", outputs=10, pixels=40)


def built(source: Source) -> nn.Module:
    network = cast(nn.Module, source.network())
    network.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("count", PAPER)
def test_the_last_blocks_of_a_resnet_50_are_those_of_the_paper(count: int) -> None:
    data = toy(classes=4, shape=(3, 32, 32))
    model = blocks(blocks=count, epochs=1).model(
        source=resnet50(), adapter=None, target=data.card()
    )
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    rule = ("head.", *(f"network.model.{module}." for module in PAPER[count]))
    plain = cast(ChainedNetwork, resnet50()).model

    assert {name for name, _ in model.named_parameters() if name.startswith(rule)} == trained
    modules = {".".join(name.split(".")[2:4]) for name in trained if name.startswith("network.")}
    assert set(PAPER[count]) == modules
    expected = sum(
        parameter.numel()
        for module in PAPER[count]
        for parameter in plain.get_submodule(module).parameters()
    )
    head = 2048 * 4 + 4
    assert expected + head == sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )


def test_a_resnet_50_has_the_paper_s_convolutions_in_its_last_blocks() -> None:
    names = list(resnet50().blocks)
    found = {
        count: sum(
            isinstance(module, nn.Conv2d)
            for name in names[len(names) - count :]
            for module in resnet50().blocks[name].modules()
        )
        for count in PAPER
    }

    # 3 a block, and 1 in the shortcut of the first block of a stage
    assert {0: 0, 1: 3, 3: 9 + 1, 9: 27 + 2} == found


@pytest.mark.parametrize("count", [0, 2])
def test_a_network_by_name_is_fine_tuned_in_its_last_blocks_alone(count: int) -> None:
    network = built(squeezenet())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    transfer = blocks(blocks=count, epochs=2)
    model = transfer.model(source=cast(Network, network), adapter=None, target=DATA.card())
    fitted = transfer.fit(
        model,
        source=cast(Network, network),
        adapter=None,
        train=DATA.part("train"),
        validation=None,
        context=InMemoryContext(),
    )
    state = model.state_dict()
    changed = {name for name, value in before.items() if not value.equal(state[f"network.{name}"])}
    names = list(cast(Network, network).blocks)
    last = tuple(f"model.{name}." for name in names[len(names) - count :])

    assert {name for name in before if name.startswith(last)} == changed
    assert 2 == len(fitted.curves)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


def test_a_linear_probe_takes_its_features() -> None:
    network = cast(
        Network, built(torchvision_model(architecture="shufflenet_v2_x0_5", outputs=10, pixels=40))
    )
    transfer = linear_probe()
    model = transfer.model(source=network, adapter=None, target=DATA.card())
    transfer.fit(
        model,
        source=network,
        adapter=None,
        train=DATA.part("train"),
        validation=None,
        context=InMemoryContext(),
    )
    logits: Tensor = predict(model, DATA.part("test"), device=torch.device("cpu"))[0]

    assert (12, 4) == tuple(logits.shape)
