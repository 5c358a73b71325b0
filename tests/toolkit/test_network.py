from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.toolkit.model_modes import freeze_weights, weights_frozen
from advtransfer.toolkit.network import BlockNetwork, Normalize, require_source
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Network

INPUTS = torch.rand(5, 1, 2, 2, generator=stream_generator("inputs"))


def _network() -> BlockNetwork:
    def build() -> BlockNetwork:
        blocks = {"flat": nn.Flatten(), "wide": nn.Linear(4, 6), "bend": nn.ReLU()}
        return BlockNetwork(blocks, nn.Linear(6, 3), Normalize([0.5], [0.25]))

    return build_initialized(build, stream_generator("init"))


def test_normalisation_is_by_channel() -> None:
    normalise = Normalize([0.5, 0.0], [0.25, 2.0])
    inputs = torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1)

    assert [2.0, 0.5] == normalise(inputs).flatten().tolist()


def test_a_block_network_is_a_network() -> None:
    network: Network = _network()

    assert ["flat", "wide", "bend"] == list(network.blocks)
    assert (5, 3) == tuple(network(INPUTS).shape)


def test_logits_are_the_head_of_the_features() -> None:
    network = _network()

    assert network(INPUTS).equal(network.head(network.features(INPUTS)))


def test_features_of_a_block_passed_through_later_blocks_are_the_features() -> None:
    network = _network()
    wide = network.features(INPUTS, upto="wide")

    assert network.features(INPUTS).equal(network.blocks["bend"](wide))
    assert network.features(INPUTS, upto="flat").equal(4 * INPUTS.flatten(1) - 2)


def test_without_normalisation_the_blocks_see_the_inputs() -> None:
    network = BlockNetwork({"flat": nn.Flatten()}, nn.Linear(4, 2))

    assert INPUTS.flatten(1).equal(network.features(INPUTS))


def test_an_unknown_block_is_an_error_that_lists_the_blocks() -> None:
    with pytest.raises(
        ValueError, match=r"found block 'last'; expected one of \['flat', 'wide', 'bend'\]"
    ):
        _network().features(INPUTS, upto="last")


def test_freezing_stops_gradients_of_every_parameter() -> None:
    network = _network()
    freeze_weights(network)

    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_temporarily_frozen_weights_are_restored() -> None:
    network = _network()
    freeze_weights(network.head)
    before = [parameter.requires_grad for parameter in network.parameters()]
    with weights_frozen(network):
        inputs = INPUTS.clone().requires_grad_()
        network(inputs).sum().backward()

        assert not any(parameter.requires_grad for parameter in network.parameters())

    assert inputs.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert before == [parameter.requires_grad for parameter in network.parameters()]


def test_temporarily_frozen_weights_are_restored_after_an_error() -> None:
    network = _network()
    with pytest.raises(KeyError), weights_frozen(network):
        raise KeyError

    assert all(parameter.requires_grad for parameter in network.parameters())


def test_clamped_normalisation_clips_pixels_to_the_unit_range() -> None:
    normalise = Normalize([0.5], [0.25], clamp=True)
    inputs = torch.tensor([-1.0, 0.75, 3.0]).reshape(3, 1, 1, 1)

    assert [-2.0, 1.0, 2.0] == normalise(inputs).flatten().tolist()


def test_missing_source_is_refused() -> None:
    network: Network = _network()

    assert require_source(network) is network
    with pytest.raises(ValueError, match="found no source"):
        require_source(None)
