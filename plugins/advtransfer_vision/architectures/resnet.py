"""Residual networks (He et al., 2016) for small images.

A 3 x 3 stem without pooling (Liang et al., 2020).
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import expect_images, pixel_centering

UNITS_PER_STAGE = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def build(*, shape: Shape, outputs: int, width: int, depth: int) -> BlockNetwork:
    """Four stages with 1, 2, 4 and 8 times `width` channels, the later three of stride 2; each unit is a block.

    Args:
        shape: ``(C, H, W)`` of an input, H and W at least 8.
        outputs: Logits.
        width: Channels of the stem; 64 in the paper.
        depth: 18, of units with two 3 x 3 convolutions, or 50, of bottlenecks, whose outputs are 4 times as wide.

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
            stride = 2 if stage and not unit else 1
            blocks[f"layer{stage + 1}_{unit}"] = ResidualUnit(
                channels, inner, inner * growth, stride=stride
            )
            channels = inner * growth
    last = list(blocks)[-1]
    blocks[last] = nn.Sequential(blocks[last], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return BlockNetwork(blocks, nn.Linear(channels, outputs), pixel_centering())


class ResidualUnit(nn.Module):
    """A residual unit: two 3 x 3 convolutions, or a bottleneck where the outputs are wider than what is inside."""

    def __init__(self, channels: int, inner: int, outer: int, *, stride: int) -> None:
        super().__init__()
        bottleneck = outer > inner
        sizes = (channels, inner, inner, outer) if bottleneck else (channels, inner, outer)
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        steps = [
            partial(_normalized_convolution, fan_in, fan_out, kernel, stride=step)
            for (fan_in, fan_out), kernel, step in zip(
                pairwise(sizes), kernels, strides, strict=True
            )
        ]
        layers = [layer for step in steps for layer in (*step(), nn.ReLU())]
        self.residual = nn.Sequential(*layers[:-1])
        same = stride == 1 and channels == outer
        self.shortcut = (
            nn.Sequential()
            if same
            else nn.Sequential(*_normalized_convolution(channels, outer, 1, stride=stride))
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return functional.relu(self.residual(inputs) + self.shortcut(inputs))


def _normalized_convolution(
    channels: int, width: int, kernel: int, *, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    """A convolution and the batch normalisation after it."""
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(width)
