from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.toolkit.precomputed_gradients import precomputed_gradient_loss
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer_igam.input_gradients import gradient_distance, input_gradients

LABELS = torch.tensor([0, 2, 1, 1])


def network() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(36, 3)
        )

    return build_initialized(build, stream_generator("network")).train()


def gradient_loss(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a loss that depends on input gradients."""
    logits = model(inputs)
    gradients = input_gradients(logits, LABELS, inputs, of="loss", differentiable=True)
    loss = nn.functional.cross_entropy(logits, LABELS)
    return loss + gradient_distance(gradients, torch.zeros_like(inputs), reduction="sum")


def images() -> Tensor:
    return torch.rand(4, 1, 5, 5, generator=stream_generator("images")).requires_grad_()


def test_precomputed_loss_has_the_value_and_weight_gradients_of_the_loss() -> None:
    plain, other, inputs = network(), network(), images()
    expected = gradient_loss(plain, inputs)
    expected.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
    loss = precomputed_gradient_loss(gradient_loss(other, images()), other)
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    assert expected.equal(loss)
    for plain_weight, other_weight in zip(plain.parameters(), other.parameters(), strict=True):
        assert plain_weight.grad is not None
        assert other_weight.grad is not None
        assert plain_weight.grad.equal(other_weight.grad)


def test_nothing_is_differentiated_with_respect_to_the_inputs() -> None:
    model, inputs = network(), images()
    precomputed_gradient_loss(gradient_loss(model, inputs), model).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    assert inputs.grad is None


def test_a_weight_that_is_frozen_or_not_used_gets_no_gradient() -> None:
    model = network()
    model.get_parameter("0.bias").requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.zeros(2)))
    precomputed_gradient_loss(gradient_loss(model, images()), model).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    assert {"0.bias", "unused"} == {
        name for name, weight in model.named_parameters() if weight.grad is None
    }


def test_precomputed_gradients_scale_with_the_upstream_gradient() -> None:
    model, inputs = network(), images()
    precomputed_gradient_loss(gradient_loss(model, inputs), model).mul(3).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
    tripled = model.get_parameter("4.bias").grad
    (once,) = torch.autograd.grad(
        gradient_loss(network_again := network(), inputs), network_again.get_parameter("4.bias")
    )

    torch.testing.assert_close(3 * once, tripled)
