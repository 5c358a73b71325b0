"""Last batches of one image in front of batch normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd

SAMPLES = toy().part("train")


def _flat() -> nn.Module:
    """Batch normalisation of single values, behind one of whole images."""
    layers = (
        nn.BatchNorm2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Linear(4, 3),
    )
    return build_initialized(lambda: nn.Sequential(*layers), stream_generator("model"))


def _convolutional() -> nn.Module:
    """Batch normalisation that sees many values of each image."""
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    return build_initialized(lambda: nn.Sequential(*layers), stream_generator("model"))


class _Watched(nn.Module):
    """Notes the size of each batch it is trained on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.sizes = model, list[int]()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.model(inputs)
        if self.training:
            self.sizes.append(len(inputs))
        return outputs


def _train(
    model: nn.Module, images: int, *, batch_size: int, epochs: int = 3
) -> list[dict[str, float]]:
    return train(
        model,
        SampleSubset(SAMPLES, torch.arange(images)),
        epochs=epochs,
        batch_size=batch_size,
        optimiser=Sgd(),
        schedule=Schedule(),
        context=InMemoryContext(),
    )


def test_a_last_batch_of_one_image_that_cannot_be_trained_on_is_left_out() -> None:
    model = _Watched(_flat())
    curves = _train(model, 9, batch_size=4)

    assert [4, 4] * 3 == model.sizes
    assert [1, 2, 3] == [row["epoch"] for row in curves]


def test_a_refused_image_leaves_no_trace_in_the_statistics_before_it() -> None:
    model = _flat()
    _train(model, 5, batch_size=4, epochs=1)

    assert (
        1
        == model.get_buffer("0.num_batches_tracked").item()
        == model.get_buffer("3.num_batches_tracked").item()
    )


def test_a_last_batch_of_one_image_is_trained_on_if_possible() -> None:
    model = _Watched(_convolutional())
    _train(model, 9, batch_size=4)

    assert [4, 4, 1] * 3 == model.sizes


@pytest.mark.parametrize(("images", "batch_size"), [(1, 4), (4, 1)])
def test_batches_of_single_images_alone_are_inapplicable(images: int, batch_size: int) -> None:
    with pytest.raises(
        Inapplicable, match="on batches of a single image; raise batch_size, and n where"
    ):
        _train(_flat(), images, batch_size=batch_size)


def test_other_errors_on_a_single_image_are_raised_unchanged() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            if len(inputs) == 1:
                raise ValueError("no single images, please")
            outputs: Tensor = self.linear(inputs.flatten(1))
            return outputs

    with pytest.raises(ValueError, match="no single images, please"):
        _train(Broken(), 5, batch_size=4)
