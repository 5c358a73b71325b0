"""LeNet-5 (LeCun et al., 1998) as Liang et al. (2020) use it: with rectifiers and max pooling."""

from __future__ import annotations

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import expect_images, pixel_centering

FIELD_PIXELS = 32


def build(*, shape: Shape, outputs: int) -> BlockNetwork:
    """Build 5 x 5 convolutions of 6 and 16 channels with max pooling, layers of 120 and 84 units, and a head.

    Images below 32 pixels a side are centred in a black field of 32 x 32, as LeCun et al. did with 28 x 28 digits.

    Args:
        shape: Shape ``(C, H, W)`` of an input.
        outputs: Number of logits.

    Raises:
        ValueError: The inputs are not images.
    """
    expect_images(shape, network="lenet5", smallest=1)
    # Each convolution takes 4 pixels off a side, and each pooling halves it.
    height, width = (((max(side, FIELD_PIXELS) - 4) // 2 - 4) // 2 for side in shape[1:])
    blocks = {
        "conv1": nn.Sequential(
            nn.Conv2d(shape[0], 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        "conv2": nn.Sequential(
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        ),
        "fc1": nn.Sequential(nn.Linear(16 * height * width, 120), nn.ReLU()),
        "fc2": nn.Sequential(nn.Linear(120, 84), nn.ReLU()),
    }
    normalise = nn.Sequential(_pad_to_field(shape), pixel_centering())
    return BlockNetwork(blocks, nn.Linear(84, outputs), normalise)


def _pad_to_field(shape: Shape) -> nn.Module:
    """Return the padding with black borders to `FIELD_PIXELS` pixels a side."""
    _, height, width = shape
    horizontal = max(0, FIELD_PIXELS - width)
    vertical = max(0, FIELD_PIXELS - height)
    left = horizontal // 2
    top = vertical // 2
    return nn.ZeroPad2d((left, horizontal - left, top, vertical - top))
