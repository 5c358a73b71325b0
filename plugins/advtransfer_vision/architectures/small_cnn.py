"""A small convolutional network for images from 8 to about 32 pixels a side, without batch normalisation.

So a prediction depends neither on the rest of the batch nor on the training mode, which keeps attacks simple.
"""

from __future__ import annotations

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import expect_images, pixel_centering


def build(*, shape: Shape, outputs: int, width: int) -> BlockNetwork:
    """Build three blocks of one 3 x 3 convolution, the last two of stride 2, global average pooling and a head.

    Args:
        shape: Shape ``(C, H, W)`` of an input, H and W at least 8.
        outputs: Number of logits.
        width: Channels of the first block; the others have 2 and 4 times as many, so there are ``4 * width`` features.

    Raises:
        ValueError: The inputs are not images, or smaller.
    """
    expect_images(shape, network="small_cnn", smallest=8)
    pooled = nn.Sequential(
        _convolution_block(2 * width, 4 * width, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    blocks = {
        "block1": _convolution_block(shape[0], width, stride=1),
        "block2": _convolution_block(width, 2 * width, stride=2),
        "block3": pooled,
    }
    return BlockNetwork(blocks, nn.Linear(4 * width, outputs), pixel_centering())


def _convolution_block(channels: int, width: int, *, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1), nn.ReLU()
    )
