"""The network of MadryLab's MNIST challenge, a teacher of Chan et al., 2020: two convolutions and one wide layer."""

from __future__ import annotations

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import expect_images


def build(*, shape: Shape, outputs: int, width: int) -> BlockNetwork:
    """Build 5 x 5 convolutions with `width` and twice as many channels, a layer of 32 times as many units, and a head.

    Each convolution is followed by max pooling, which rounds odd sides up. Pixels stay in [0, 1]. The initial weights
    are torch's default, unlike in the challenge's code.

    Args:
        shape: Shape ``(C, H, W)`` of an input, H and W at least 4.
        outputs: Number of logits.
        width: Channels of the first convolution; 32 in the challenge, which gives 32, 64 and 1,024.

    Raises:
        ValueError: The inputs are not images, or smaller.
    """
    expect_images(shape, network="mnist_2conv", smallest=4)
    pooled_height, pooled_width = ((side + 3) // 4 for side in shape[1:])
    features = 2 * width * pooled_height * pooled_width
    blocks = {
        "conv1": _convolution_block(shape[0], width),
        "conv2": _convolution_block(width, 2 * width),
        "fc1": nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, 32 * width),
            nn.ReLU(),
        ),
    }
    return BlockNetwork(blocks, nn.Linear(32 * width, outputs))


def _convolution_block(channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
    )
