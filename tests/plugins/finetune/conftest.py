"""A small source network and the pieces around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.toolkit.pgd import pgd
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Context, Samples, Source, SourceCard, Weights


def build() -> BlockNetwork:
    """Return a network of three blocks with batch normalisation over ``(1, 4, 4)`` images, 4 outputs."""
    blocks = {
        "low": nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3)
        ),
        "middle": nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        "high": nn.Sequential(
            nn.Conv2d(6, 5, 2, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten()
        ),
    }
    return BlockNetwork(blocks, nn.Linear(20, 4), Normalize([0.5], [0.25]))


@pytest.fixture
def source() -> BlockNetwork:
    return build_initialized(build, stream_generator("finetune source")).eval()


@dataclass(frozen=True)
class Untrained:
    """An untrained source of the same architecture, whose weights come from the context."""

    def card(self) -> SourceCard:
        return SourceCard(
            architecture="tiny", data="none", constraint="none", shape=(1, 4, 4), outputs=4
        )

    def network(self) -> BlockNetwork:
        return build_initialized(build, stream_generator("architecture"))

    def weights(self, context: Context) -> Weights:
        return Weights(build_initialized(build, context.generator("init")).state_dict())


@pytest.fixture
def untrained() -> Source:
    return Untrained()


@pytest.fixture
def robust_accuracy() -> Callable[[nn.Module, Samples, float], float]:
    """A function of model, samples and linf eps to the accuracy under 20 steps of PGD."""

    def measure(model: nn.Module, samples: Samples, eps: float) -> float:
        inputs = samples.inputs(all_positions(samples))
        labels = samples.labels(all_positions(samples))
        adversarial = pgd(
            model,
            inputs,
            labels,
            norm="linf",
            eps=eps,
            steps=20,
            step_size=eps / 6,
            random_start=False,
            generator=torch.Generator(),
        )
        return int((model(adversarial).argmax(1) == labels).sum()) / len(labels)

    return measure
