"""The wide residual network of Chan et al. (2020) and MadryLab's CIFAR-10 challenge, there "w32-10 wide"."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_vision.architectures.image_inputs import expect_images

STEM_CHANNELS = 16
LEAKY_SLOPE = 0.1


def build(*, shape: Shape, outputs: int, width: int, depth: int) -> BlockNetwork:
    """Build a 3 x 3 stem of 16 channels and three groups of pre-activated residual units; each unit is a block.

    The groups have ``(depth - 2) / 6`` units of 16, 32 and 64 times `width` channels, the last two of stride 2. As in
    the challenge's code, rectifiers are leaky with slope 0.1, shortcuts have no weights, and images are standardised.

    Args:
        shape: Shape ``(C, H, W)`` of an input, H and W at least 4.
        outputs: Number of logits.
        width: How many times wider than a plain residual network, the k of n-k; 10 in the papers.
        depth: The n of n-k, two more than a multiple of 6; 32 in the papers.

    Raises:
        ValueError: The inputs are not images, or smaller.
    """
    expect_images(shape, network="wide_resnet", smallest=4)
    blocks: dict[str, nn.Module] = {"stem": _initialized_convolution(shape[0], STEM_CHANNELS)}
    channels = STEM_CHANNELS
    for group in range(3):
        wide = STEM_CHANNELS * width * 2**group
        for unit in range((depth - 2) // 6):
            is_first_of_group = unit == 0
            blocks[f"group{group + 1}_{unit}"] = PreActivatedUnit(
                channels,
                wide,
                stride=2 if group > 0 and is_first_of_group else 1,
                activate_both=group == 0 and is_first_of_group,
            )
            channels = wide
    last = list(blocks)[-1]
    blocks[last] = nn.Sequential(
        blocks[last], *_normalized_activation(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    head = nn.Linear(channels, outputs)
    # TensorFlow's uniform unit scaling, as in the challenge's code.
    bound = math.sqrt(3 / channels)
    nn.init.uniform_(head.weight, -bound, bound)
    nn.init.zeros_(head.bias)
    return BlockNetwork(blocks, head, Standardize())


class Standardize(nn.Module):
    """Standardisation of each image to mean 0 and standard deviation 1; uniform images are only centred."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardise ``(B, C, H, W)`` to the same shape."""
        # The challenge's code bounds the deviation below by 1 / sqrt(N), for pixels from 0 to 255.
        smallest_std = 1 / (255 * math.sqrt(inputs[0].numel()))
        centred = inputs - inputs.mean((1, 2, 3), keepdim=True)
        # The variance is bounded before its root is taken, since the root has no gradient at 0.
        variance = centred.square().mean((1, 2, 3), keepdim=True)
        std = variance.clamp_min(smallest_std**2).sqrt()
        return centred / std


class PreActivatedUnit(nn.Module):
    """A residual unit that normalises and rectifies before each convolution (He et al., 2016, Identity Mappings).

    Args:
        channels: Channels of the inputs.
        wide: Channels of the outputs; a shortcut to more channels is padded with zeros on both sides.
        stride: Stride of the first convolution; the shortcut averages 2 x 2 pixels for a stride of 2.
        activate_both: Whether the shortcut, too, starts after the first activation.
    """

    def __init__(self, channels: int, wide: int, *, stride: int, activate_both: bool) -> None:
        super().__init__()
        self.activation = nn.Sequential(*_normalized_activation(channels))
        convolutions = [
            _initialized_convolution(channels, wide, stride=stride),
            *_normalized_activation(wide),
            _initialized_convolution(wide, wide),
        ]
        self.residual = nn.Sequential(*convolutions)
        self.stride = stride
        self.missing = wide - channels
        self.activate_both = activate_both

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H', W')``."""
        active = self.activation(inputs)
        shortcut = active if self.activate_both else inputs
        if self.stride > 1:
            shortcut = functional.avg_pool2d(shortcut, self.stride, ceil_mode=True)
        # The shortcut has no weights: missing channels are zeros.
        before = self.missing // 2
        after = self.missing - before
        shortcut = functional.pad(shortcut, [0, 0, 0, 0, before, after])
        residual: Tensor = self.residual(active)
        return residual + shortcut


def _normalized_activation(channels: int) -> tuple[nn.Module, nn.Module]:
    # The epsilon is the default of TensorFlow, which the challenge's code uses.
    return nn.BatchNorm2d(channels, eps=1e-3), nn.LeakyReLU(LEAKY_SLOPE)


def _initialized_convolution(channels: int, width: int, *, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    # The initialisation of the challenge's code.
    std = math.sqrt(2 / (9 * width))
    with torch.no_grad():
        convolution.weight.normal_(0, std)
    return convolution
