"""The network of the synthetic regression of Liang et al.

(2020): one hidden layer of sigmoid units.
"""

from __future__ import annotations

import math

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape


def build(*, shape: Shape, outputs: int, width: int) -> BlockNetwork:
    """``W2 sigmoid(W1 x + b1) + b2``, every weight and bias drawn uniformly from [-0.5, 0.5]; inputs as they are.

    Args:
        shape: Of an input, which is flattened.
        outputs: Values, or logits.
        width: Hidden units; 100 in the paper's reference.
    """
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width), nn.Sigmoid())
    network = BlockNetwork({"hidden": hidden}, nn.Linear(width, outputs))
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return network
