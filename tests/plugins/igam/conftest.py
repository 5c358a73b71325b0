"""A small teacher, a small student, and their data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Context, Shape, SourceCard, Weights


def teacher_network() -> BlockNetwork:
    """Return a network of two blocks with batch normalisation over ``(1, 8, 8)`` images, 4 outputs."""
    blocks = {
        "low": nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        "high": nn.Sequential(nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
    }
    return BlockNetwork(blocks, nn.Linear(96, 4), Normalize([0.5], [0.5]))


def student_network(side: int = 8) -> BlockNetwork:
    """Return one block with batch normalisation and dropout, for ``side`` pixels and 3 outputs."""
    layers = (
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Softplus(),
        nn.Dropout(0.2),
        nn.Flatten(),
    )
    return BlockNetwork(
        {"only": nn.Sequential(*layers)}, nn.Linear(2 * side**2, 3), Normalize([0.5], [0.5])
    )


@dataclass(frozen=True)
class Drawn:
    """Source with untrained weights."""

    shape: Shape = (1, 8, 8)
    outputs: int = 3

    def card(self) -> SourceCard:
        return SourceCard("student", "none", "none", self.shape, self.outputs)

    def network(self) -> BlockNetwork:
        return build_initialized(
            lambda: student_network(self.shape[1]), stream_generator("architecture")
        )

    def weights(self, context: Context) -> Weights:
        return Weights(
            build_initialized(
                lambda: student_network(self.shape[1]), stream_generator("weights")
            ).state_dict()
        )


@pytest.fixture
def teacher() -> BlockNetwork:
    network = build_initialized(teacher_network, stream_generator("teacher")).eval()
    with torch.no_grad():
        network.get_buffer("body.low.1.running_mean").fill_(0.1)
    return network


@pytest.fixture
def fresh() -> Callable[[], BlockNetwork]:
    return lambda: build_initialized(student_network, stream_generator("student"))


@pytest.fixture
def student() -> Drawn:
    return Drawn()


@pytest.fixture
def large_student() -> Drawn:
    return Drawn(shape=(1, 16, 16))


@pytest.fixture
def data() -> ArrayDataset:
    return toy(shape=(1, 8, 8), noise=0.4, train=48, test=24)
