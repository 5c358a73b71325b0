from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.rng import reinitialize, stream_generator


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
    for one, stream in zip(networks, ("one", "one", "other"), strict=True):
        reinitialize(one, stream_generator(stream), whose="a network")
    weights = [one.get_parameter("2.1.weight") for one in networks]

    assert before.equal(torch.get_rng_state())
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_the_averages_of_batch_normalisation_start_again() -> None:
    one = network()
    one(torch.rand(4, 1, 3, 3))
    reinitialize(one, stream_generator("new"), whose="a network")

    assert torch.zeros(2).equal(one.get_buffer("1.running_mean"))


def test_the_parameters_stay_the_same_objects() -> None:
    one = network()
    before = list(one.parameters())
    reinitialize(one, stream_generator("new"), whose="a network")

    assert all(here is there for here, there in zip(before, one.parameters(), strict=True))


def test_a_layer_that_cannot_draw_its_weights_is_named() -> None:
    with pytest.raises(
        Inapplicable,
        match=r"found 1 \(Stuck\) in the adapter, which cannot draw new weights; give it",
    ):
        reinitialize(
            nn.Sequential(nn.Conv2d(1, 1, 1), Stuck()), stream_generator("new"), whose="the adapter"
        )


def test_untrained_layers_can_keep_their_weights() -> None:
    one = nn.Sequential(
        nn.Conv2d(1, 1, 1).requires_grad_(False), Stuck().requires_grad_(False), nn.Conv2d(1, 1, 1)
    )
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    reinitialize(one, stream_generator("new"), whose="the adapter", trained_only=True)
    after = one.state_dict()

    assert before["0.weight"].equal(after["0.weight"])
    assert not before["2.weight"].equal(after["2.weight"])
