"""The order of convolutions' weights in memory while a model trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.memory_format import channels_last_weights, prefers_channels_last
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def _convolutions(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 1, 1),
        nn.Conv2d(1, 1, 1),  # a weight whose strides are the same in both orders
    )


def test_convolutions_on_a_cpu_are_trained_channels_last() -> None:
    assert prefers_channels_last(_convolutions(), CPU)
    assert not prefers_channels_last(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), CPU)


@pytest.mark.parametrize(
    "convolution",
    [nn.Conv2d(4, 8, 1, stride=2), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 3, dilation=2)],
    ids=["strided pixel", "grouped", "dilated"],
)
def test_a_model_with_a_convolution_that_may_be_computed_wrongly_is_left_alone(
    convolution: nn.Conv2d,
) -> None:
    assert not prefers_channels_last(nn.Sequential(*_convolutions(), convolution), CPU)


def test_convolutions_on_a_gpu_are_trained_channels_last_in_autocast_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not prefers_channels_last(_convolutions(), CUDA)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
    assert prefers_channels_last(_convolutions(), CUDA)


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_are_channels_last_in_the_block_alone_and_keep_their_values(channels: int) -> None:
    model = _convolutions(channels)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters = list(model.parameters())
    with channels_last_weights(model, enabled=True):
        inside = [parameter.stride() for parameter in parameters if parameter.ndim == 4]
        assert [(9 * channels, 1, 3 * channels, channels), (4, 1, 4, 4), (1, 1, 1, 1)] == inside
        assert parameters == list(model.parameters())

    after = model.state_dict()
    assert all(tensor.equal(after[name]) for name, tensor in before.items())
    assert [tensor.stride() for tensor in before.values()] == [
        tensor.stride() for tensor in after.values()
    ]


def test_nothing_changes_where_it_is_not_enabled() -> None:
    model = _convolutions()
    with channels_last_weights(model, enabled=False):
        assert (27, 9, 3, 1) == model.get_parameter("0.weight").stride()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_gets_its_images_and_weights_channels_last_while_it_trains(channels: int) -> None:
    strides: list[tuple[int, ...]] = []

    class Watching(nn.Module):
        """Notes the strides of the convolution's output."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(channels, 5, 3, padding=1)
            self.head = nn.Linear(5 * 64, 3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            """Return logits."""
            images = self.convolution(inputs)
            strides.append(images.stride())
            logits: torch.Tensor = self.head(images.flatten(1))
            return logits

    model = Watching()
    train(
        model,
        toy(classes=3, shape=(channels, 8, 8), train=16, test=4).part("train"),
        epochs=1,
        batch_size=8,
        optimiser=Sgd(lr=1e-3),
        schedule=Schedule(),
        context=InMemoryContext(),
    )

    assert [(320, 1, 40, 5)] * 2 == strides
    assert (9 * channels, 9, 3, 1) == model.convolution.weight.stride()
