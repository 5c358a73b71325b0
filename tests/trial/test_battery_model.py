"""What the battery sees of a model itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.streams import generator, initialised
from advtransfer.trial.battery.model import smoothness
from advtransfer.types import Check

BOX = (0.0, 1.0)


class Rounding(nn.Module):
    """Rounds to 16 levels, and passes gradients through as if it did not."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The same shape."""
        return inputs + ((inputs * 16).round() / 16 - inputs).detach()


def pooling(*first: nn.Module) -> nn.Module:
    """A network of convolution and max pooling, in eval mode."""
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)]
    return initialised(lambda: nn.Sequential(*first, *layers), generator("a pooling network")).eval()


def images() -> Tensor:
    """Bright squares on a background of exact zeros, as handwritten digits have."""
    drawn = torch.zeros(32, 1, 8, 8)
    drawn[:, :, 2:5, 3:5] = torch.rand(32, 1, 3, 2, generator=generator("squares"))
    return drawn


def seen(model: nn.Module) -> dict[str, Check]:
    return {check.name: check for check in smoothness(model, images(), bounds=BOX, keys=list(range(32)))}


def test_an_honest_network_that_pools_is_not_doubted_on_images_with_a_flat_background() -> None:
    assert ["pass", "pass"] == [check.grade for check in seen(pooling()).values()]


def test_one_that_hides_its_rounding_is() -> None:
    found = seen(pooling(Rounding()))

    assert "fail" == found["derivatives"].grade
    assert found["derivatives"].value > 0.8


@pytest.mark.parametrize("model", [pooling(), pooling(Rounding())])
def test_the_model_is_left_as_it_was(model: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen(model)

    assert all(
        tensor.equal(before[name]) and tensor.dtype == torch.float32 for name, tensor in model.state_dict().items()
    )
