"""Backward passes through surrogates: the values of the model, the gradients of its surrogates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.surrogate_gradients import (
    offers_surrogate,
    surrogate_gradients,
    surrogate_outputs,
)

INPUTS = torch.rand(6, 4, generator=stream_generator("inputs"))


class Rounding(nn.Module):
    """Rounds to quarters; the identity stands in for it."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (4 * inputs).round() / 4

    def surrogate(self, inputs: Tensor) -> Tensor:
        return inputs


class Squares(Rounding):
    """Rounds squares; the square stands in for it."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.square())

    def surrogate(self, inputs: Tensor) -> Tensor:
        return inputs.square()


class Wider(Rounding):
    """Its surrogate has another shape."""

    def surrogate(self, inputs: Tensor) -> Tensor:
        return torch.cat([inputs, inputs], dim=1)


def input_gradient(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    points = inputs.clone().requires_grad_()
    outputs: Tensor = model(points)
    (gradient,) = torch.autograd.grad(outputs.sum(), points)
    return outputs.detach(), gradient


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_values_are_the_models_and_gradients_those_of_its_surrogates() -> None:
    layer = nn.Linear(4, 3, bias=False)
    model = nn.Sequential(Squares(), layer).requires_grad_(False)
    plain, zero = input_gradient(model, INPUTS)
    with surrogate_gradients(model):
        outputs, gradient = input_gradient(model, INPUTS)

    assert zero.count_nonzero() == 0
    assert outputs.equal(plain)
    torch.testing.assert_close(gradient, 2 * INPUTS * layer.weight.sum(0))


def test_each_surrogate_is_differentiated_at_what_its_module_receives() -> None:
    """The chain rule at the rounded values, not at those of the surrogate before."""
    model = nn.Sequential(Rounding(), Squares())
    with surrogate_gradients(model):
        _, gradient = input_gradient(model, INPUTS)

    assert gradient.equal(2 * Rounding()(INPUTS))


def test_without_a_gradient_the_surrogate_is_not_run() -> None:
    model = Wider()
    with surrogate_gradients(model), torch.no_grad():
        assert model(INPUTS).equal((4 * INPUTS).round() / 4)


def test_a_surrogate_of_another_shape_is_refused() -> None:
    model = nn.Sequential(Wider())
    with (
        pytest.raises(
            ModelError, match=r"surrogate of shape \(6, 8\) from Wider; expected \(6, 4\)"
        ),
        surrogate_gradients(model),
    ):
        input_gradient(model, INPUTS)

    assert hooks_of(model) == 0


def test_surrogates_take_the_place_of_their_modules() -> None:
    model = nn.Sequential(Rounding(), Squares())
    with surrogate_outputs(model):
        assert model(INPUTS).equal(INPUTS.square())
    assert hooks_of(model) == 0


def test_who_offers_one() -> None:
    assert offers_surrogate(nn.Sequential(nn.Sequential(Rounding())))
    assert not offers_surrogate(nn.Linear(2, 2))
