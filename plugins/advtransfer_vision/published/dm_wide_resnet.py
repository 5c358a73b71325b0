"""Wide residual networks as Gowal et al. (2020) and Rebuffi et al. (2021) have them, padded as ``SAME``."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from advtransfer.toolkit.blocks import Step
from advtransfer_vision.published.parts import Pool, SamePadded, SumOf
from advtransfer_vision.published.wide_resnet import STEM, units_of


class Unit(SumOf):
    """A pre-activated residual unit; a shortcut to other channels is a 1 x 1 convolution of the activated inputs."""

    def __init__(self, channels: int, width: int, *, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(channels)
        self.conv_0 = SamePadded(channels, width, stride=stride)
        self.batchnorm_1 = nn.BatchNorm2d(width)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.activation = activation()
        same = channels == width
        self.shortcut = None if same else nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.unit(
            inputs,
            norms=(self.batchnorm_0, self.batchnorm_1),
            convolutions=(self.conv_0, self.conv_1),
            activation=self.activation,
            projection=self.shortcut,
        )


class Group(nn.Module):
    """Units of one width, the first of which may have a stride."""

    def __init__(self, units: int, channels: int, width: int, *, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        later = (Unit(width, width, stride=1, activation=activation) for _ in range(units - 1))
        self.block = nn.Sequential(Unit(channels, width, stride=stride, activation=activation), *later)

    def forward(self, inputs: Tensor) -> Tensor:
        """One unit after another."""
        activations: Tensor = self.block(inputs)
        return activations


class DMWideResNet(nn.Module):
    """A 3 x 3 stem of 16 channels, three groups of ``(depth - 4) / 6`` units, a head.

    Args:
        depth: The n of WRN-n-k: 10, 16, 22, 28, 34, ..., 70, ...
        width: The k: the groups have 16, 32 and 64 times as many channels.
        outputs: Logits.
        activation: ``nn.ReLU`` or ``nn.SiLU``, which the original code calls Swish.

    Raises:
        ValueError: There is no network of this depth.
    """

    def __init__(self, *, depth: int, width: int, outputs: int, activation: type[nn.Module]) -> None:
        super().__init__()
        units, (first, second, third) = units_of(depth), (STEM * width * 2**group for group in range(3))
        self.init_conv = nn.Conv2d(3, STEM, 3, padding=1, bias=False)
        self.layer = nn.Sequential(
            Group(units, STEM, first, stride=1, activation=activation),
            Group(units, first, second, stride=2, activation=activation),
            Group(units, second, third, stride=2, activation=activation),
        )
        self.batchnorm = nn.BatchNorm2d(third)
        self.activation, self.pool = activation(), Pool()
        self.logits = nn.Linear(third, outputs)

    def steps(self) -> Iterator[Step]:
        """The forward pass, step by step."""
        yield from ("init_conv", "layer.0.block", "layer.1.block", "layer.2.block")
        yield from ("batchnorm", "activation", "pool", "logits")

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.batchnorm(self.layer(self.init_conv(inputs)))
        logits: Tensor = self.logits(self.pool(self.activation(activations)))
        return logits
