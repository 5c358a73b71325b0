"""LeNet-5 (LeCun et al., 1998) as Liang et al. (2020) use it: with rectifiers and max pooling."""

from __future__ import annotations

from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import expect_images, pixel_centering

FIELD_PIXELS = 32


def build(*, shape: Shape, outputs: int) -> BlockNetwork:
    """5 x 5 convolutions of 6 and 16 channels with max pooling, layers of 120 and 84 units, a head.

    Images below 32 pixels a side are centred in a black field of 32 x 32, as LeCun et al. did with 28 x 28 digits.

    Args:
        shape: ``(C, H, W)`` of an input.
        outputs: Logits.

    Raises:
        ValueError: The inputs are not images.
    """
    expect_images(shape, network="lenet5", smallest=1)
    height, breadth = (((max(side, FIELD_PIXELS) - 4) // 2 - 4) // 2 for side in shape[1:])
    blocks = {
        "conv1": nn.Sequential(nn.Conv2d(shape[0], 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        "conv2": nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        "fc1": nn.Sequential(nn.Linear(16 * height * breadth, 120), nn.ReLU()),
        "fc2": nn.Sequential(nn.Linear(120, 84), nn.ReLU()),
    }
    return BlockNetwork(
        blocks, nn.Linear(84, outputs), nn.Sequential(_pad_to_field(shape), pixel_centering())
    )


def _pad_to_field(shape: Shape) -> nn.Module:
    """Black borders up to `FIELD_PIXELS` pixels a side."""
    borders = [max(0, FIELD_PIXELS - side) for side in (shape[2], shape[1])]
    left, top = (border // 2 for border in borders)
    return nn.ZeroPad2d((left, borders[0] - left, top, borders[1] - top))
