from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.rng import build_redrawable, reinitialize, stream_generator


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    )


class Stuck(nn.Module):
    """A third party's layer that has something to learn, and cannot draw it."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))


def test_weights_are_drawn_from_the_stream_alone() -> None:
    networks = [network() for _ in range(3)]
    before = torch.get_rng_state()
    for module, stream in zip(networks, ("one", "one", "other"), strict=True):
        reinitialize(module, stream_generator(stream), whose="a network")
    weights = [module.get_parameter("2.1.weight") for module in networks]

    assert before.equal(torch.get_rng_state())
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_the_averages_of_batch_normalisation_start_again() -> None:
    module = network()
    module(torch.rand(4, 1, 3, 3))
    reinitialize(module, stream_generator("new"), whose="a network")

    assert torch.zeros(2).equal(module.get_buffer("1.running_mean"))


def test_the_parameters_stay_the_same_objects() -> None:
    module = network()
    before = list(module.parameters())
    reinitialize(module, stream_generator("new"), whose="a network")

    assert all(
        parameter is other for parameter, other in zip(before, module.parameters(), strict=True)
    )


def test_a_layer_that_cannot_draw_its_weights_is_named() -> None:
    with pytest.raises(
        Inapplicable,
        match=r"found 1 \(Stuck\) in the adapter, which cannot draw new weights; give it",
    ):
        reinitialize(
            nn.Sequential(nn.Conv2d(1, 1, 1), Stuck()), stream_generator("new"), whose="the adapter"
        )


def test_untrained_layers_can_keep_their_weights() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 1, 1).requires_grad_(False), Stuck().requires_grad_(False), nn.Conv2d(1, 1, 1)
    )
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    reinitialize(module, stream_generator("new"), whose="the adapter", trained_only=True)
    after = module.state_dict()

    assert before["0.weight"].equal(after["0.weight"])
    assert not before["2.weight"].equal(after["2.weight"])


def test_network_that_can_be_built_again_gets_its_own_initialisation() -> None:
    def build() -> nn.Sequential:
        layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        nn.init.constant_(layers.get_parameter("0.weight"), 0.25)
        return layers

    network = build_redrawable(build, stream_generator("one"))
    whole = nn.Sequential(network, nn.Linear(2, 3))
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.fill_(7.0)
    reinitialize(whole, stream_generator("new"), whose="a network")
    # A copy with another layer is no longer what was built, so each layer draws for itself.
    changed = copy.deepcopy(network)
    changed[0] = nn.Conv2d(1, 4, 3)
    reinitialize(changed, stream_generator("new"), whose="a network")

    assert (network.get_parameter("0.weight") == 0.25).all()
    assert not (network.get_parameter("0.bias") == 7.0).any()
    assert not (whole.get_parameter("1.weight") == 7.0).any()
    assert not (changed.get_parameter("0.weight") == 0.25).any()
