from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer_igam.input_gradients import gradient_distance, input_gradients, l2_standardized
from advtransfer_igam.options import GradientTarget

LABELS = torch.tensor([0, 2, 1])


def smooth() -> nn.Module:
    layers = (nn.Conv2d(1, 3, 2), nn.Softplus(), nn.Flatten(), nn.Linear(12, 3))
    return build_initialized(lambda: nn.Sequential(*layers), stream_generator("smooth")).double()


def images() -> Tensor:
    return torch.rand(3, 1, 3, 3, generator=stream_generator("images"), dtype=torch.float64)


def score(network: nn.Module, inputs: Tensor, of: GradientTarget) -> Tensor:
    """Return the loss or the probability of each sample, ``(B,)``."""
    probabilities: Tensor = network(inputs).softmax(1).gather(1, LABELS.view(-1, 1)).squeeze(1)
    return -probabilities.log() if of == "loss" else probabilities


@pytest.mark.parametrize("of", get_args(GradientTarget))
def test_input_gradients_equal_finite_differences(of: GradientTarget) -> None:
    network, inputs, step = smooth(), images(), 1e-6
    inputs.requires_grad_()
    gradients = input_gradients(network(inputs), LABELS, inputs, of=of)
    with torch.no_grad():
        for row, column in product(range(3), range(3)):
            shift = torch.zeros_like(inputs)
            shift[:, 0, row, column] = step
            slope = (score(network, inputs + shift, of) - score(network, inputs - shift, of)) / (
                2 * step
            )

            torch.testing.assert_close(gradients[:, 0, row, column], slope, rtol=1e-6, atol=1e-9)


def test_the_two_gradients_differ_by_the_probability() -> None:
    network, inputs = smooth(), images().requires_grad_()
    of_loss = input_gradients(network(inputs), LABELS, inputs, of="loss")
    of_probability = input_gradients(network(inputs), LABELS, inputs, of="probability")
    probability = score(network, inputs, "probability").view(-1, 1, 1, 1)

    torch.testing.assert_close(of_loss, -of_probability / probability)


@pytest.mark.parametrize("of", get_args(GradientTarget))
def test_the_weights_gradient_of_the_distance_equals_finite_differences(of: GradientTarget) -> None:
    network, target, step = smooth(), images(), 1e-5

    def distance() -> Tensor:
        inputs = images().requires_grad_()
        gradients = input_gradients(network(inputs), LABELS, inputs, of=of, differentiable=True)
        return gradient_distance(gradients, target, reduction="sum")

    weight = network.get_parameter("0.weight")
    (gradient,) = torch.autograd.grad(distance(), weight)
    for index in product(range(3), [0], range(2), range(2)):
        with torch.no_grad():
            weight[index] += step
        higher = distance().item()
        with torch.no_grad():
            weight[index] -= 2 * step
        slope = (higher - distance().item()) / (2 * step)
        with torch.no_grad():
            weight[index] += step

        assert slope == pytest.approx(gradient[index].item(), rel=1e-5, abs=1e-8)


def test_gradients_are_detached_unless_they_are_to_be_differentiated() -> None:
    network, inputs = smooth(), images().requires_grad_()

    assert input_gradients(network(inputs), LABELS, inputs, of="loss").grad_fn is None
    assert (
        input_gradients(network(inputs), LABELS, inputs, of="loss", differentiable=True).grad_fn
        is not None
    )


def test_a_sample_has_the_same_gradient_in_every_batch() -> None:
    network, inputs = smooth(), images().requires_grad_()
    whole = input_gradients(network(inputs), LABELS, inputs, of="loss")
    single = images()[1:2].requires_grad_()

    torch.testing.assert_close(
        whole[1:2], input_gradients(network(single), LABELS[1:2], single, of="loss")
    )


def test_the_distance_is_a_sum_or_a_mean_of_squares() -> None:
    student, teacher = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 1.0]]]]), torch.zeros(2, 1, 1, 2)

    assert 26.0 == gradient_distance(student, teacher, reduction="sum").item()
    assert 13.0 == gradient_distance(student, teacher, reduction="sample_mean").item()
    assert 6.5 == gradient_distance(student, teacher, reduction="mean").item()


def test_a_unit_image_has_mean_0_and_length_1_at_every_scale() -> None:
    random_images = torch.randn(4, 3, 5, 5, generator=stream_generator("drawn"))

    torch.testing.assert_close(
        l2_standardized(random_images).mean((1, 2, 3)), torch.zeros(4), atol=1e-7, rtol=0
    )
    torch.testing.assert_close(l2_standardized(random_images).flatten(1).norm(dim=1), torch.ones(4))
    torch.testing.assert_close(
        l2_standardized(random_images), l2_standardized(1e-3 * random_images + 2e-3)
    )


def test_a_flat_image_stays_finite_with_its_derivatives() -> None:
    flat = torch.full((2, 1, 3, 3), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        (l2_standardized(flat) * torch.arange(9.0).view(1, 1, 3, 3)).sum(), flat, create_graph=True
    )

    assert l2_standardized(flat).equal(torch.zeros(2, 1, 3, 3))
    assert gradient.isfinite().all()
    assert torch.autograd.grad(gradient.square().sum(), flat)[0].isfinite().all()
