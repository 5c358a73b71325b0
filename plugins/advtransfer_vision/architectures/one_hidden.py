"""The network of the synthetic regression of Liang et al. (2020): one hidden layer of sigmoid units."""

from __future__ import annotations

import math

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape


def build(*, shape: Shape, outputs: int, width: int) -> BlockNetwork:
    """Build ``W2 sigmoid(W1 x + b1) + b2`` without normalisation, weights and biases uniform in [-0.5, 0.5].

    Args:
        shape: Shape of an input, which is flattened.
        outputs: Number of values, or logits.
        width: Number of hidden units; 100 in the paper's reference.
    """
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width), nn.Sigmoid())
    network = BlockNetwork({"hidden": hidden}, nn.Linear(width, outputs))
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return network
