"""Pre-activation residual networks for CIFAR (He et al., 2016) with the names of published weights.

The networks that begin with ``DM`` have the names of DeepMind's weights (Gowal et al., 2020; Rebuffi et al., 2021).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from advtransfer.toolkit.wrapped_networks import ForwardStep
from advtransfer_vision.published.layers import GlobalMeanPool, ResidualSum, SamePaddedConv2d

UNITS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class PreActUnit(ResidualSum):
    """Two 3 x 3 convolutions; a shortcut to other channels, or with a stride, is a 1 x 1 convolution."""

    def __init__(self, channels: int, width: int, *, stride: int, raw: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = None
        if channels != width or stride != 1:
            projection = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
            # The published names of its weights begin with "shortcut.0".
            self.shortcut = nn.Sequential(projection)
        self.relu = nn.ReLU()
        self.raw = raw

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.residual_sum(
            inputs,
            norms=(self.bn1, self.bn2),
            convolutions=(self.conv1, self.conv2),
            activation=self.relu,
            projection=self.shortcut,
            raw=self.raw,
        )


class PreActResNet(nn.Module):
    """A 3 x 3 stem, four stages with 1, 2, 4 and 8 times `width` channels, a head.

    Args:
        depth: 18 or 34.
        width: Channels of the stem; 64 in the paper.
        outputs: Number of logits.
        raw: Whether shortcuts with weights start from the inputs of their unit, instead of the activated inputs.
        final_norm: Whether to normalise and rectify before the pooling.
    """

    def __init__(
        self, *, depth: int, width: int, outputs: int, raw: bool, final_norm: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        stages: list[nn.Module] = []
        channels = width
        for stage, units in enumerate(UNITS_PER_STAGE[depth]):
            stage_width = width * 2**stage
            layers = [PreActUnit(channels, stage_width, stride=2 if stage else 1, raw=raw)]
            for _ in range(units - 1):
                layers.append(PreActUnit(stage_width, stage_width, stride=1, raw=raw))
            stages.append(nn.Sequential(*layers))
            channels = stage_width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn = nn.BatchNorm2d(channels) if final_norm else None
        self.relu = nn.ReLU()
        self.pool = GlobalMeanPool()
        self.linear = nn.Linear(channels, outputs)

    def forward_steps(self) -> Iterator[ForwardStep]:
        """Yield the steps of the forward pass."""
        yield from ("conv1", "layer1", "layer2", "layer3", "layer4")
        if self.bn is not None:
            yield from ("bn", "relu")
        yield from ("pool", "linear")

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.conv1(inputs)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            activations = stage(activations)
        if self.bn is not None:
            activations = self.relu(self.bn(activations))
        logits: Tensor = self.linear(self.pool(activations))
        return logits


class DMPreActUnit(ResidualSum):
    """Two 3 x 3 convolutions; a shortcut to other channels is a third one, of the unit's inputs."""

    def __init__(
        self, channels: int, width: int, *, stride: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(channels)
        self.conv_2d_1 = SamePaddedConv2d(channels, width, stride=stride)
        self.batchnorm_1 = nn.BatchNorm2d(width)
        self.conv_2d_2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = None
        if channels != width or stride != 1:
            self.shortcut = SamePaddedConv2d(channels, width, stride=stride)
        self.activation = activation()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.residual_sum(
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
        outputs: Number of logits.
        activation: ``nn.ReLU`` or ``nn.SiLU``, which the original code calls Swish.
    """

    def __init__(
        self, *, depth: int, width: int, outputs: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.conv_2d = nn.Conv2d(3, width, 3, padding=1, bias=False)
        stages: list[nn.Module] = []
        channels = width
        for stage, units in enumerate(UNITS_PER_STAGE[depth]):
            stage_width = width * 2**stage
            stride = 2 if stage else 1
            layers = [DMPreActUnit(channels, stage_width, stride=stride, activation=activation)]
            for _ in range(units - 1):
                unit = DMPreActUnit(stage_width, stage_width, stride=1, activation=activation)
                layers.append(unit)
            stages.append(nn.Sequential(*layers))
            channels = stage_width
        self.layer_0, self.layer_1, self.layer_2, self.layer_3 = stages
        self.batchnorm = nn.BatchNorm2d(channels)
        self.activation = activation()
        self.pool = GlobalMeanPool()
        self.logits = nn.Linear(channels, outputs)

    def forward_steps(self) -> Iterator[ForwardStep]:
        """Yield the steps of the forward pass."""
        yield from ("conv_2d", "layer_0", "layer_1", "layer_2", "layer_3")
        yield from ("batchnorm", "activation", "pool", "logits")

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.conv_2d(inputs)
        for stage in (self.layer_0, self.layer_1, self.layer_2, self.layer_3):
            activations = stage(activations)
        logits: Tensor = self.logits(self.pool(self.activation(self.batchnorm(activations))))
        return logits
