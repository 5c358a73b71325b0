"""A small source network."""

from __future__ import annotations

import pytest
from torch import nn

from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.toolkit.rng import build_initialized, stream_generator


def build() -> BlockNetwork:
    """Return two blocks with batch normalisation and dropout over ``(1, 6, 6)`` images, 5 outputs."""
    blocks = {
        "low": nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3)
        ),
        "high": nn.Sequential(
            nn.Conv2d(6, 5, 2, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten()
        ),
    }
    return BlockNetwork(blocks, nn.Linear(45, 5), Normalize([0.5], [0.25]))


@pytest.fixture
def source() -> BlockNetwork:
    return build_initialized(build, stream_generator("adapters source")).eval()
