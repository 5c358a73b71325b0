"""Pre-activation residual networks (He et al., 2016, Identity Mappings in Deep Residual Networks) for CIFAR."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from advtransfer.toolkit.blocks import Step
from advtransfer_vision.published.parts import Pool, SumOf

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class Unit(SumOf):
    """Two 3 x 3 convolutions; a shortcut to other channels, or with a stride, is a 1 x 1 convolution."""

    def __init__(self, channels: int, width: int, *, stride: int, raw: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same = channels == width and stride == 1
        self.shortcut = None if same else nn.Sequential(nn.Conv2d(channels, width, 1, stride=stride, bias=False))
        self.relu, self.raw = nn.ReLU(), raw

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        return self.unit(
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
        outputs: Logits.
        raw: Shortcuts with weights start from the inputs of their unit as they are, not from the activated ones.
        final_norm: Normalise and rectify before the pooling.
    """

    def __init__(self, *, depth: int, width: int, outputs: int, raw: bool, final_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        stages, channels = list[nn.Module](), width
        for stage, units in enumerate(UNITS[depth]):
            wide, stride = width * 2**stage, 2 if stage else 1
            later = (Unit(wide, wide, stride=1, raw=raw) for _ in range(units - 1))
            stages.append(nn.Sequential(Unit(channels, wide, stride=stride, raw=raw), *later))
            channels = wide
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn = nn.BatchNorm2d(channels) if final_norm else None
        self.relu, self.pool = nn.ReLU(), Pool()
        self.linear = nn.Linear(channels, outputs)

    def steps(self) -> Iterator[Step]:
        """The forward pass, step by step."""
        yield from ("conv1", "layer1", "layer2", "layer3", "layer4")
        yield from (() if self.bn is None else ("bn", "relu"))
        yield from ("pool", "linear")

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 3, H, W)`` normalised pixels to ``(B, outputs)`` logits."""
        activations = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(inputs)))))
        if self.bn is not None:
            activations = self.relu(self.bn(activations))
        logits: Tensor = self.linear(self.pool(activations))
        return logits
