"""The fully connected network of Liang et al., 2020."""

from __future__ import annotations

import math

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import pixel_centering

LAYER_UNITS = (1176, 400, 120, 84)


def build(*, shape: Shape, outputs: int) -> BlockNetwork:
    """Build layers of 1,176, 400, 120 and 84 units with rectifiers, and a head.

    For CIFAR-10 the sizes are 3072-1176-400-120-84-10.

    Args:
        shape: Shape of an input: images ``(C, H, W)``, or any other shape, which is flattened and not normalised.
        outputs: Number of logits, or values.
    """
    blocks: dict[str, nn.Module] = {}
    fan_in = math.prod(shape)
    for number, units in enumerate(LAYER_UNITS, start=1):
        layers = [nn.Linear(fan_in, units), nn.ReLU()]
        if number == 1:
            layers.insert(0, nn.Flatten())
        blocks[f"fc{number}"] = nn.Sequential(*layers)
        fan_in = units
    normalise = pixel_centering() if len(shape) == 3 else None
    return BlockNetwork(blocks, nn.Linear(fan_in, outputs), normalise)
