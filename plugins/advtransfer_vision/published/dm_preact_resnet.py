"""Pre-activation residual networks as Gowal et al. (2020) and Rebuffi et al. (2021) have them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from advtransfer.toolkit.blocks import Step
from advtransfer_vision.published.parts import Pool, SamePadded, SumOf
from advtransfer_vision.published.preact_resnet import UNITS


class Unit(SumOf):
    """Two 3 x 3 convolutions; a shortcut to other channels is a third one, of the inputs as they are."""

    def __init__(self, channels: int, width: int, *, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(channels)
        self.conv_2d_1 = SamePadded(channels, width, stride=stride)
        self.batchnorm_1 = nn.BatchNorm2d(width)
        self.conv_2d_2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same = channels == width and stride == 1
        self.shortcut = None if same else SamePadded(channels, width, stride=stride)
        self.activation = activation()

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.unit(
            inputs,
            norms=(self.batchnorm_0, self.batchnorm_1),
            convolutions=(self.conv_2d_1, self.conv_2d_2),
            activation=self.activation,
            projection=self.shortcut,
            raw=True,
        )


class DMPreActResNet(nn.Module):
    """A 3 x 3 stem, four stages with 1, 2, 4 and 8 times `width` channels, a head.

    Args:
        depth: 18 or 34.
        width: Channels of the stem; 64 in the original code.
        outputs: Logits.
        activation: ``nn.ReLU`` or ``nn.SiLU``, which the original code calls Swish.
    """

    def __init__(self, *, depth: int, width: int, outputs: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.conv_2d = nn.Conv2d(3, width, 3, padding=1, bias=False)
        stages, channels = list[nn.Module](), width
        for stage, units in enumerate(UNITS[depth]):
            wide, stride = width * 2**stage, 2 if stage else 1
            later = (Unit(wide, wide, stride=1, activation=activation) for _ in range(units - 1))
            stages.append(nn.Sequential(Unit(channels, wide, stride=stride, activation=activation), *later))
            channels = wide
        self.layer_0, self.layer_1, self.layer_2, self.layer_3 = stages
        self.batchnorm = nn.BatchNorm2d(channels)
        self.activation, self.pool = activation(), Pool()
        self.logits = nn.Linear(channels, outputs)

    def steps(self) -> Iterator[Step]:
        """The forward pass, step by step."""
        yield from ("conv_2d", "layer_0", "layer_1", "layer_2", "layer_3")
        yield from ("batchnorm", "activation", "pool", "logits")

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.layer_3(self.layer_2(self.layer_1(self.layer_0(self.conv_2d(inputs)))))
        logits: Tensor = self.logits(self.pool(self.activation(self.batchnorm(activations))))
        return logits
