"""Residual networks (He et al., 2016) for small images, with a 3 x 3 stem without pooling (Liang et al., 2020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import expect_images, pixel_centering

UNITS_PER_STAGE = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def build(*, shape: Shape, outputs: int, width: int, depth: int) -> BlockNetwork:
    """Build four stages with 1, 2, 4 and 8 times `width` channels, the last three of stride 2; each unit is a block.

    Args:
        shape: Shape ``(C, H, W)`` of an input, H and W at least 8.
        outputs: Number of logits.
        width: Channels of the stem; 64 in the paper.
        depth: 18, with two 3 x 3 convolutions in each unit, or 50, with bottlenecks, whose outputs are 4 times as wide.

    Raises:
        ValueError: The inputs are not images, or smaller.
    """
    expect_images(shape, network=f"resnet{depth}", smallest=8)
    growth = 4 if depth == 50 else 1
    blocks: dict[str, nn.Module] = {
        "stem": nn.Sequential(*_normalized_convolution(shape[0], width, 3), nn.ReLU())
    }
    channels = width
    for stage, units in enumerate(UNITS_PER_STAGE[depth]):
        inner = width * 2**stage
        for unit in range(units):
            is_first_of_stage = unit == 0
            stride = 2 if stage > 0 and is_first_of_stage else 1
            outer = inner * growth
            blocks[f"layer{stage + 1}_{unit}"] = ResidualUnit(channels, inner, outer, stride=stride)
            channels = outer
    last = list(blocks)[-1]
    blocks[last] = nn.Sequential(blocks[last], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return BlockNetwork(blocks, nn.Linear(channels, outputs), pixel_centering())


class ResidualUnit(nn.Module):
    """A residual unit: two 3 x 3 convolutions, or a bottleneck if the outputs have more channels than its inside.

    Args:
        channels: Channels of the inputs.
        inner: Channels between the convolutions.
        outer: Channels of the outputs.
        stride: Stride of the first 3 x 3 convolution.
    """

    def __init__(self, channels: int, inner: int, outer: int, *, stride: int) -> None:
        super().__init__()
        is_bottleneck = outer > inner
        if is_bottleneck:
            self.residual = nn.Sequential(
                *_normalized_convolution(channels, inner, 1),
                nn.ReLU(),
                *_normalized_convolution(inner, inner, 3, stride=stride),
                nn.ReLU(),
                *_normalized_convolution(inner, outer, 1),
            )
        else:
            self.residual = nn.Sequential(
                *_normalized_convolution(channels, inner, 3, stride=stride),
                nn.ReLU(),
                *_normalized_convolution(inner, outer, 3),
            )
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != outer:
            projection = _normalized_convolution(channels, outer, 1, stride=stride)
            self.shortcut = nn.Sequential(*projection)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return functional.relu(self.residual(inputs) + self.shortcut(inputs))


def _normalized_convolution(
    channels: int, width: int, kernel: int, *, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution and its batch normalisation."""
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(width)
