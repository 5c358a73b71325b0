"""Checks of a battery on the model itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import Normalize
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Check
from advtransfer.worker.verification.model_checks import smoothness_checks

BOX = (0.0, 1.0)


class Rounding(nn.Module):
    """Rounds to 16 levels, and passes gradients through as if it did not."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The same shape."""
        return inputs + ((inputs * 16).round() / 16 - inputs).detach()


def pooling(*first: nn.Module) -> nn.Module:
    """A network of convolution and max pooling, in eval mode."""

    def build() -> nn.Module:
        layers = [
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 3),
        ]
        return nn.Sequential(*first, *layers)

    return build_initialized(build, stream_generator("a pooling network")).eval()


def images() -> Tensor:
    """Bright squares on a background of exact zeros, as handwritten digits have."""
    drawn = torch.zeros(32, 1, 8, 8)
    drawn[:, :, 2:5, 3:5] = torch.rand(32, 1, 3, 2, generator=stream_generator("squares"))
    return drawn


def seen(model: nn.Module) -> dict[str, Check]:
    return {
        check.name: check
        for check in smoothness_checks(model, images(), bounds=BOX, keys=list(range(32)))
    }


def test_honest_pooling_network_passes_on_flat_backgrounds() -> None:
    assert ["pass", "pass"] == [check.grade for check in seen(pooling()).values()]


def test_hidden_rounding_is_suspicious() -> None:
    found = seen(pooling(Rounding()))

    assert "fail" == found["derivatives"].grade
    assert found["derivatives"].value > 0.5


class Casting(nn.Module):
    """Computes in float32 what it is given, or what it gives."""

    def __init__(self, model: nn.Module, *, first: bool) -> None:
        super().__init__()
        self.model, self.first = model, first

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's logits."""
        logits: Tensor = self.model(
            Normalize([0.5], [0.5]).to(inputs)(inputs.float()) if self.first else inputs
        )
        return logits if self.first else logits.float()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_honest_network_that_casts_to_float32_passes(first: bool, scale: float) -> None:
    class Scaled(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return scale * inputs

    found = seen(nn.Sequential(Casting(pooling(), first=first), Scaled()).eval())

    assert ["pass", "pass"] == [check.grade for check in found.values()]


def test_hidden_rounding_with_a_cast_is_suspicious() -> None:
    assert "fail" == seen(Casting(pooling(Rounding()), first=True))["derivatives"].grade


def test_float32_noise_on_a_flat_line_is_no_jump() -> None:
    class Flat(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            height = 10 + 1e-4 * inputs.flatten(1).sum(1).float()
            return torch.stack([height, -height, 0 * height], dim=1)

    assert "pass" == seen(Flat())["continuity"].grade


class Failing(nn.Module):
    """Raises as it is copied."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("no copies"), TypeError("cannot pickle")])
def test_smoothness_of_an_uncopyable_model_is_not_applicable(error: Exception) -> None:
    found = seen(Failing(error)).values()

    assert ["not applicable", "not applicable"] == [check.grade for check in found]
    assert all(str(error) in check.text for check in found)


def test_lack_of_memory_is_raised() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        seen(Failing(torch.OutOfMemoryError("out of memory")))


@pytest.mark.parametrize("model", [pooling(), pooling(Rounding())])
def test_smoothness_checks_leave_the_model_unchanged(model: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen(model)

    assert all(
        tensor.equal(before[name]) and tensor.dtype == torch.float32
        for name, tensor in model.state_dict().items()
    )
