"""The fully connected network of Liang et al., 2020."""

from __future__ import annotations

import math

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import pixel_centering

LAYER_UNITS = (1176, 400, 120, 84)


def build(*, shape: Shape, outputs: int) -> BlockNetwork:
    """Layers of 1,176, 400, 120 and 84 units with rectifiers, a head; CIFAR-10 makes it 3072-1176-400-120-84-10.

    Args:
        shape: Of an input: images ``(C, H, W)`` or anything else, which is flattened and not normalised.
        outputs: Logits, or values.
    """
    sizes = (math.prod(shape), *LAYER_UNITS)
    layers = [
        nn.Sequential(nn.Linear(fan_in, fan_out), nn.ReLU())
        for fan_in, fan_out in zip(sizes, LAYER_UNITS, strict=False)
    ]
    layers[0] = nn.Sequential(nn.Flatten(), *layers[0])
    blocks: dict[str, nn.Module] = {
        f"fc{place}": layer for place, layer in enumerate(layers, start=1)
    }
    return BlockNetwork(
        blocks, nn.Linear(LAYER_UNITS[-1], outputs), pixel_centering() if len(shape) == 3 else None
    )
