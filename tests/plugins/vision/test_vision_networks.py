from __future__ import annotations

from typing import get_args

import pytest
import torch

from advtransfer.toolkit.streams import generator, initialised
from advtransfer.types import DataCard, Shape
from advtransfer_vision.networks import NetworkName, build


def _card(shape: Shape, outputs: int = 5) -> DataCard:
    return DataCard(shape, (0.0, 1.0), "classes", outputs, tuple(map(str, range(outputs))), "digest")


@pytest.mark.parametrize("name", get_args(NetworkName))
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_every_network_takes_images_of_these_shapes(name: NetworkName, shape: Shape) -> None:
    network = initialised(lambda: build(name, data=_card(shape), width=4), generator("init")).eval()

    assert (2, 5) == tuple(network(torch.zeros(2, *shape)).shape)


def test_a_small_cnn_has_three_blocks_with_1_2_and_4_times_its_width() -> None:
    network = initialised(lambda: build("small_cnn", data=_card((1, 8, 8)), width=4), generator("init"))
    inputs = torch.zeros(2, 1, 8, 8)
    shapes = {name: tuple(network.features(inputs, upto=name).shape) for name in network.blocks}

    assert {"block1": (2, 4, 8, 8), "block2": (2, 8, 4, 4), "block3": (2, 16)} == shapes


@pytest.mark.parametrize("shape", [(1, 7, 8), (64,)])
def test_inputs_it_cannot_take_are_refused(shape: Shape) -> None:
    with pytest.raises(ValueError, match=r"for small_cnn; expected .* at least 8 x 8 pixels; give the data set a size"):
        build("small_cnn", data=_card(shape), width=4)
