"""Small smooth models, and samples labelled with the reference's predictions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, EvaluationInputs


def build_network(name: str, *, outputs: int = 3) -> BlockNetwork:
    """Return a network with one hidden layer of 12 units over ``(1, 4, 4)`` images."""

    def build() -> BlockNetwork:
        hidden = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh())
        return BlockNetwork({"hidden": hidden}, nn.Linear(12, outputs))

    return build_initialized(build, stream_generator(name)).eval()


def samples(
    labels: Tensor, *, task: str = "classes", bounds: tuple[float, float] | None = (0.0, 1.0)
) -> ArraySamples:
    """Return one random image per label."""
    names = ("a", "b", "c")
    card = DataCard((1, 4, 4), bounds, task, 3, names, "")  # type: ignore[arg-type]  # a task by its name
    return ArraySamples(card=card, inputs=pixels(len(labels)), labels=labels)


def pixels(count: int) -> Tensor:
    """``(count, 1, 4, 4)``."""
    return torch.rand((count, 1, 4, 4), generator=stream_generator("images"))


@pytest.fixture
def network() -> Callable[..., BlockNetwork]:
    return build_network


@pytest.fixture
def labelled() -> Callable[..., ArraySamples]:
    return samples


@pytest.fixture
def evaluation_inputs() -> EvaluationInputs:
    """A source of 5 outputs, a reference of 3, and 70 images labelled by the reference."""
    reference = build_network("reference")
    predicted = reference(pixels(70)).argmax(1).detach()
    return EvaluationInputs(
        test=samples(predicted), source=build_network("source", outputs=5), reference=reference
    )
