"""Wide residual networks (Zagoruyko & Komodakis, 2016) with the names of published weights.

Those of TRADES and most of RobustBench, and DeepMind's (Gowal et al., 2020) with ``SAME`` padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from advtransfer.toolkit.wrapped_networks import ForwardStep
from advtransfer_vision.published.layers import GlobalMeanPool, ResidualSum, SamePaddedConv2d

STEM_CHANNELS = 16


class WideUnit(ResidualSum):
    """A pre-activated residual unit of TRADES' code.

    A shortcut to other channels is a 1 x 1 convolution of the activated inputs.
    """

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        # Named as in the published weights.
        self.convShortcut = None
        if channels != width:
            self.convShortcut = nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.residual_sum(
            inputs,
            norms=(self.bn1, self.bn2),
            convolutions=(self.conv1, self.conv2),
            activation=self.relu,
            projection=self.convShortcut,
        )


class WideGroup(nn.Module):
    """Units of one width, the first of which may have a stride."""

    def __init__(self, units: int, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        layers = [WideUnit(channels, width, stride=stride)]
        for _ in range(units - 1):
            layers.append(WideUnit(width, width, stride=1))
        self.layer = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply one unit after another."""
        activations: Tensor = self.layer(inputs)
        return activations


class WideResNet(nn.Module):
    """A 3 x 3 stem of 16 channels, three groups of ``(depth - 4) / 6`` units, a head.

    Args:
        depth: The n of WRN-n-k: 10, 16, 22, 28, 34, ..., 70, ...
        width: The k of WRN-n-k: the groups have 16, 32 and 64 times as many channels.
        outputs: Number of logits.

    Raises:
        ValueError: No network has this depth.
    """

    def __init__(self, *, depth: int, width: int, outputs: int) -> None:
        super().__init__()
        units = units_per_group(depth)
        first, second, third = (STEM_CHANNELS * width * 2**group for group in range(3))
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 3, padding=1, bias=False)
        self.block1 = WideGroup(units, STEM_CHANNELS, first, stride=1)
        self.block2 = WideGroup(units, first, second, stride=2)
        self.block3 = WideGroup(units, second, third, stride=2)
        self.bn1 = nn.BatchNorm2d(third)
        self.relu = nn.ReLU()
        self.pool = GlobalMeanPool()
        self.fc = nn.Linear(third, outputs)
        # The initialisation of the original code.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                height, breadth = module.kernel_size
                std = math.sqrt(2 / (height * breadth * module.out_channels))
                nn.init.normal_(module.weight, 0, std)
        nn.init.zeros_(self.fc.bias)

    def forward_steps(self) -> Iterator[ForwardStep]:
        """Yield the steps of the forward pass."""
        yield from ("conv1", "block1.layer", "block2.layer", "block3.layer")
        yield from ("bn1", "relu", "pool", "fc")

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.conv1(inputs)
        for block in (self.block1, self.block2, self.block3):
            activations = block(activations)
        logits: Tensor = self.fc(self.pool(self.relu(self.bn1(activations))))
        return logits


def units_per_group(depth: int) -> int:
    """Return the units in each group of a wide residual network with two 3 x 3 convolutions a unit.

    Raises:
        ValueError: No network has this depth.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(
            f"found depth {depth}; expected 10, 16, 22, 28, 34, ... (4 more than a multiple of 6)"
        )
    return (depth - 4) // 6


class DMWideUnit(ResidualSum):
    """A pre-activated residual unit of DeepMind's code.

    A shortcut to other channels is a 1 x 1 convolution of the activated inputs.
    """

    def __init__(
        self, channels: int, width: int, *, stride: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(channels)
        self.conv_0 = SamePaddedConv2d(channels, width, stride=stride)
        self.batchnorm_1 = nn.BatchNorm2d(width)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.activation = activation()
        self.shortcut = None
        if channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.residual_sum(
            inputs,
            norms=(self.batchnorm_0, self.batchnorm_1),
            convolutions=(self.conv_0, self.conv_1),
            activation=self.activation,
            projection=self.shortcut,
        )


class DMWideGroup(nn.Module):
    """Units of one width, the first of which may have a stride."""

    def __init__(
        self, units: int, channels: int, width: int, *, stride: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        layers = [DMWideUnit(channels, width, stride=stride, activation=activation)]
        for _ in range(units - 1):
            layers.append(DMWideUnit(width, width, stride=1, activation=activation))
        self.block = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply one unit after another."""
        activations: Tensor = self.block(inputs)
        return activations


class DMWideResNet(nn.Module):
    """A 3 x 3 stem of 16 channels, three groups of ``(depth - 4) / 6`` units, a head.

    Args:
        depth: The n of WRN-n-k: 10, 16, 22, 28, 34, ..., 70, ...
        width: The k of WRN-n-k: the groups have 16, 32 and 64 times as many channels.
        outputs: Number of logits.
        activation: ``nn.ReLU`` or ``nn.SiLU``, which the original code calls Swish.

    Raises:
        ValueError: No network has this depth.
    """

    def __init__(
        self, *, depth: int, width: int, outputs: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        units = units_per_group(depth)
        first, second, third = (STEM_CHANNELS * width * 2**group for group in range(3))
        self.init_conv = nn.Conv2d(3, STEM_CHANNELS, 3, padding=1, bias=False)
        self.layer = nn.Sequential(
            DMWideGroup(units, STEM_CHANNELS, first, stride=1, activation=activation),
            DMWideGroup(units, first, second, stride=2, activation=activation),
            DMWideGroup(units, second, third, stride=2, activation=activation),
        )
        self.batchnorm = nn.BatchNorm2d(third)
        self.activation = activation()
        self.pool = GlobalMeanPool()
        self.logits = nn.Linear(third, outputs)

    def forward_steps(self) -> Iterator[ForwardStep]:
        """Yield the steps of the forward pass."""
        yield from ("init_conv", "layer.0.block", "layer.1.block", "layer.2.block")
        yield from ("batchnorm", "activation", "pool", "logits")

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.batchnorm(self.layer(self.init_conv(inputs)))
        logits: Tensor = self.logits(self.pool(self.activation(activations)))
        return logits
