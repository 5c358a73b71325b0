from __future__ import annotations

from typing import Literal

import pytest
import torch
from foolbox.attacks.fast_gradient_method import L2FastGradientAttack, LinfFastGradientAttack
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advtransfer.toolkit.attack import pgd
from advtransfer.toolkit.streams import generator, initialised
from advtransfer_foolbox.attacks import Watched, fast_gradient, projected_gradient


def network() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 3))

    return initialised(build, generator("attacks")).eval().requires_grad_(False)


def batch(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = torch.rand((32, 1, 4, 4), generator=generator("attacks.images"))
    return images, model(images).argmax(1)


def reach(attack: Watched, model: nn.Module, eps: float, noise: Tensor | None = None) -> Tensor:
    images, labels = batch(model)
    return attack.reach(PyTorchModel(model, bounds=(0, 1)), images, labels, eps=eps, noise=noise).inputs


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_takes_the_step_that_foolbox_takes(norm: Literal["linf", "l2"]) -> None:
    model = network()
    images, labels = batch(model)
    plain = LinfFastGradientAttack() if norm == "linf" else L2FastGradientAttack()
    expected = plain.run(PyTorchModel(model, bounds=(0, 1)), images, labels, epsilon=0.1)

    assert expected.equal(reach(fast_gradient(norm, random_start=False), model, 0.1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_ends_where_an_implementation_of_its_own_ends_unless_it_meets_an_example(
    norm: Literal["linf", "l2"],
) -> None:
    model = network()
    images, labels = batch(model)
    expected = pgd(
        model,
        images,
        labels,
        norm=norm,
        eps=0.05,
        steps=10,
        step_size=0.01,
        random_start=False,
        generator=torch.Generator(),
    )
    attack = projected_gradient(norm, steps=10, step_size=0.01, random_start=False)
    unmet = model(expected).argmax(1) == labels

    assert unmet.sum() > 10
    torch.testing.assert_close(reach(attack, model, 0.05)[unmet], expected[unmet], atol=1e-6, rtol=0)


def test_a_random_start_is_the_noise_that_was_handed_over() -> None:
    model = network()
    images, _ = batch(model)
    noise = 2 * torch.rand(images.shape, generator=generator("attacks.noise")) - 1
    attack = projected_gradient("linf", steps=1, step_size=1e-9, random_start=True)

    expected = (images + 0.01 * noise).clamp(0, 1)
    torch.testing.assert_close(reach(attack, model, 0.01, noise), expected, atol=1e-6, rtol=0)


class Valley(nn.Module):
    """One pixel; class 1 in a narrow band around 0.6, class 0 elsewhere."""

    def forward(self, inputs: Tensor) -> Tensor:
        margin = (inputs.flatten(1) - 0.6).abs() - 0.05
        return torch.cat([margin, torch.zeros_like(margin)], 1)


def test_an_example_met_on_the_way_is_kept_although_the_last_iterate_is_none() -> None:
    model = Valley().eval()
    attack = projected_gradient("linf", steps=2, step_size=0.08, random_start=False)
    start, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    reached = attack.reach(PyTorchModel(model, bounds=(0, 1)), start, labels, eps=0.3, noise=None)
    plain = projected_gradient("linf", steps=1, step_size=0.08, random_start=False)
    one = plain.reach(PyTorchModel(model, bounds=(0, 1)), start, labels, eps=0.3, noise=None)

    assert one.inputs.item() == pytest.approx(0.58)
    assert one.inputs.equal(reached.inputs)
    assert 1 == model(reached.inputs).argmax(1).item()


class Cliff(nn.Module):
    """A model of one pixel whose gradient is NaN above a half."""

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        # both are 0, but above a half the derivative of the root is infinite
        zero = (0 * flat + (flat < 0.5).float()).sqrt() - (flat < 0.5).float()
        return torch.cat([flat, zero], 1)


def test_rows_whose_gradient_is_not_finite_are_told_apart() -> None:
    images, labels = torch.tensor([0.2, 0.8, 0.4]).reshape(3, 1, 1, 1), torch.zeros(3, dtype=torch.int64)
    attack = fast_gradient("linf", random_start=False)
    reached = attack.reach(PyTorchModel(Cliff().eval(), bounds=(0, 1)), images, labels, eps=0.01, noise=None)

    assert [True, False, True] == reached.finite.tolist()
