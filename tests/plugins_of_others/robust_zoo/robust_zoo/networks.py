"""The architectures of the zoo, and a source around each of its models."""

from pathlib import Path

import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.types import Context, SourceCard, Weights
from robust_zoo import Entry


class Residual(nn.Module):
    """``relu(x + conv(x))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return (images + self.conv(images)).relu()


def build_network(entry: Entry) -> BlockNetwork:
    """Return an untrained network of the zoo, ``(B, 1, 8, 8)`` to ``(B, 10)``."""
    width = entry.width
    stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
    middle = Residual(width) if entry.network == "residual" else nn.Conv2d(width, width, 3)
    pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    blocks = {"stem": stem, "middle": nn.Sequential(middle, pool)}
    return BlockNetwork(blocks, nn.Linear(4 * width, 10), Normalize([0.3], [0.4]))


class ZooModel:
    """A source."""

    def __init__(self, name: str, entry: Entry, file: Path) -> None:
        self.name, self.entry, self.file = name, entry, file

    def card(self) -> SourceCard:
        return SourceCard(self.name, "digits", self.entry.constraint, (1, 8, 8), 10)

    def network(self) -> BlockNetwork:
        return build_network(self.entry)

    def weights(self, context: Context) -> Weights:
        return Weights(torch.load(self.file, map_location="cpu", weights_only=True))
