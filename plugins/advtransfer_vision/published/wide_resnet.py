"""Wide residual networks (Zagoruyko & Komodakis, 2016) as TRADES (Zhang et al., 2019) and RobustBench have them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from advtransfer.toolkit.blocks import Step
from advtransfer_vision.published.parts import Pool, SumOf

STEM = 16


class Unit(SumOf):
    """A pre-activated residual unit; a shortcut to other channels is a 1 x 1 convolution of the activated inputs."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        same = channels == width
        self.convShortcut = None if same else nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.unit(
            inputs,
            norms=(self.bn1, self.bn2),
            convolutions=(self.conv1, self.conv2),
            activation=self.relu,
            projection=self.convShortcut,
        )


class Group(nn.Module):
    """Units of one width, the first of which may have a stride."""

    def __init__(self, units: int, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        later = (Unit(width, width, stride=1) for _ in range(units - 1))
        self.layer = nn.Sequential(Unit(channels, width, stride=stride), *later)

    def forward(self, inputs: Tensor) -> Tensor:
        """One unit after another."""
        activations: Tensor = self.layer(inputs)
        return activations


class WideResNet(nn.Module):
    """A 3 x 3 stem of 16 channels, three groups of ``(depth - 4) / 6`` units, a head.

    Args:
        depth: The n of WRN-n-k: 10, 16, 22, 28, 34, ..., 70, ...
        width: The k: the groups have 16, 32 and 64 times as many channels.
        outputs: Logits.

    Raises:
        ValueError: There is no network of this depth.
    """

    def __init__(self, *, depth: int, width: int, outputs: int) -> None:
        super().__init__()
        units, (first, second, third) = units_of(depth), (STEM * width * 2**group for group in range(3))
        self.conv1 = nn.Conv2d(3, STEM, 3, padding=1, bias=False)
        self.block1 = Group(units, STEM, first, stride=1)
        self.block2 = Group(units, first, second, stride=2)
        self.block3 = Group(units, second, third, stride=2)
        self.bn1 = nn.BatchNorm2d(third)
        self.relu, self.pool = nn.ReLU(), Pool()
        self.fc = nn.Linear(third, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        nn.init.zeros_(self.fc.bias)

    def steps(self) -> Iterator[Step]:
        """The forward pass, step by step."""
        yield from ("conv1", "block1.layer", "block2.layer", "block3.layer", "bn1", "relu", "pool", "fc")

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.block3(self.block2(self.block1(self.conv1(inputs))))
        logits: Tensor = self.fc(self.pool(self.relu(self.bn1(activations))))
        return logits


def units_of(depth: int) -> int:
    """Units in each group of a wide residual network with two 3 x 3 convolutions a unit.

    Raises:
        ValueError: There is no network of this depth.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"found depth {depth}; expected 10, 16, 22, 28, 34, ... (4 more than a multiple of 6)")
    return (depth - 4) // 6
