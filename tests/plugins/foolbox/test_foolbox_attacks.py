from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from eagerpy.astensor import astensor
from foolbox.attacks.fast_gradient_method import (
    L1FastGradientAttack,
    L2FastGradientAttack,
    LinfFastGradientAttack,
)
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.pgd import pgd
from advtransfer.toolkit.rng import build_initialized, fork_global_rng, stream_generator
from advtransfer_foolbox.attack_settings import EpsMultiple, Fgsm, Loss, Pgd
from advtransfer_foolbox.gradient_attacks import GradientAttack, loss_objective, other_classes


def network() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 3))

    return build_initialized(build, stream_generator("attacks")).eval().requires_grad_(False)


def batch(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = torch.rand((32, 1, 4, 4), generator=stream_generator("attacks.images"))
    return images, model(images).argmax(1)


def pgd_attack(
    norm: Norm, *, steps: int, step_size: float | EpsMultiple, random_start: bool = False
) -> GradientAttack:
    settings = Pgd(kind="pgd", steps=steps, step_size=step_size, random_start=random_start)
    return GradientAttack(settings, norm=norm)


def attacked_points(
    attack: GradientAttack, model: nn.Module, eps: float, starts: Tensor | None = None
) -> Tensor:
    images, labels = batch(model)
    return attack.attack_batch(
        PyTorchModel(model, bounds=(0, 1)), images, labels, eps=eps, starts=starts
    ).points


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fgsm_takes_the_step_of_foolbox(norm: Norm) -> None:
    model = network()
    images, labels = batch(model)
    plain = {
        "linf": LinfFastGradientAttack(),
        "l2": L2FastGradientAttack(),
        "l1": L1FastGradientAttack(),
    }[norm]
    expected = plain.run(PyTorchModel(model, bounds=(0, 1)), images, labels, epsilon=0.1)
    points = attacked_points(GradientAttack(Fgsm(kind="fgsm"), norm=norm), model, 0.1)

    torch.testing.assert_close(points, expected, atol=1e-7 if norm == "linf" else 1e-6, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_equals_the_pgd_of_the_toolkit_where_no_example_is_met(
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
    attack = pgd_attack(norm, steps=10, step_size=0.01)
    unmet = model(expected).argmax(1) == labels

    assert unmet.sum() > 10
    torch.testing.assert_close(
        attacked_points(attack, model, 0.05)[unmet], expected[unmet], atol=1e-6, rtol=0
    )


def test_attack_starts_at_the_given_points() -> None:
    model = network()
    images, _ = batch(model)
    noise = 2 * torch.rand(images.shape, generator=stream_generator("attacks.noise")) - 1
    attack = pgd_attack("linf", steps=1, step_size=1e-9, random_start=True)

    expected = (images + 0.01 * noise).clamp(0, 1)
    torch.testing.assert_close(
        attacked_points(attack, model, 0.01, expected), expected, atol=1e-6, rtol=0
    )


class Valley(nn.Module):
    """One pixel; class 1 in a narrow band around 0.6, class 0 elsewhere."""

    def forward(self, inputs: Tensor) -> Tensor:
        margin = (inputs.flatten(1) - 0.6).abs() - 0.05
        return torch.cat([margin, torch.zeros_like(margin)], 1)


def test_first_adversarial_iterate_is_kept_although_the_last_one_is_correct() -> None:
    model = Valley().eval()
    attack = pgd_attack("linf", steps=2, step_size=0.08)
    start, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    result = attack.attack_batch(PyTorchModel(model, bounds=(0, 1)), start, labels, eps=0.3)
    one_step = pgd_attack("linf", steps=1, step_size=0.08)
    first = one_step.attack_batch(PyTorchModel(model, bounds=(0, 1)), start, labels, eps=0.3)

    assert first.points.item() == pytest.approx(0.58)
    assert first.points.equal(result.points)
    assert 1 == model(result.points).argmax(1).item()


def test_the_last_iterate_alone_is_judged_where_that_is_asked_for() -> None:
    model = Valley().eval()
    settings = Pgd(kind="pgd", steps=2, step_size=0.08, random_start=False, examples="last")
    start, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    attack = GradientAttack(settings, norm="linf")

    result = attack.attack_batch(PyTorchModel(model, bounds=(0, 1)), start, labels, eps=0.3)

    # One step ends at .58 in the valley, the next one beyond it.
    assert result.points.item() == pytest.approx(0.66)
    assert [2] == result.gradient_counts.tolist()
    assert not result.is_adversarial.any()
    assert 0 == model(result.points).argmax(1).item()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_last_iterates_equal_the_pgd_of_the_toolkit_on_every_sample(
    norm: Literal["linf", "l2"],
) -> None:
    model = network()
    images, labels = batch(model)
    expected = pgd(
        model,
        images,
        labels,
        norm=norm,
        eps=0.3,
        steps=10,
        step_size=0.06,
        random_start=False,
        generator=torch.Generator(),
    )
    settings = Pgd(kind="pgd", steps=10, step_size=0.06, random_start=False, examples="last")
    points = attacked_points(GradientAttack(settings, norm=norm), model, 0.3)

    assert (model(expected).argmax(1) != labels).sum() > 5
    torch.testing.assert_close(points, expected, atol=1e-5, rtol=0)


class Cliff(nn.Module):
    """A model of one pixel whose gradient is NaN above a half."""

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        # both are 0, but above a half the derivative of the root is infinite
        zero = (0 * flat + (flat < 0.5).float()).sqrt() - (flat < 0.5).float()
        return torch.cat([flat, zero], 1)


def test_rows_with_a_nan_gradient_are_not_completed() -> None:
    images, labels = (
        torch.tensor([0.2, 0.8, 0.4]).reshape(3, 1, 1, 1),
        torch.zeros(3, dtype=torch.int64),
    )
    attack = GradientAttack(Fgsm(kind="fgsm"), norm="linf")
    result = attack.attack_batch(
        PyTorchModel(Cliff().eval(), bounds=(0, 1)), images, labels, eps=0.01
    )

    assert [True, False, True] == result.completed.tolist()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_gradient_attack_works_with_the_foolbox_interface(norm: Norm) -> None:
    model = network()
    images, labels = batch(model)
    attacked = PyTorchModel(model, bounds=(0, 1))
    attack = pgd_attack(norm, steps=5, step_size=0.1, random_start=True)
    with fork_global_rng(stream_generator("foolbox")):
        _, points, once = attack(attacked, images, labels, epsilons=[0.1, 0.5])
        _, _, repeated = attack.repeat(3)(
            attacked, images, Misclassification(labels), epsilons=[0.1, 0.5]
        )

    assert 0 < once[0].sum() < once[1].sum() <= repeated[1].sum()
    assert once[1].equal(model(points[1]).argmax(1) != labels)


def test_criterion_other_than_misclassification_is_an_error() -> None:
    model = network()
    images, labels = batch(model)
    wanted = TargetedMisclassification((labels + 1) % 3)
    attack = pgd_attack("linf", steps=1, step_size=0.1)

    for criterion in (wanted, Misclassification(labels) & wanted):
        with pytest.raises(
            TypeError, match=r"found the criterion \w+; expected Misclassification, or labels"
        ):
            attack(PyTorchModel(model, bounds=(0, 1)), images, criterion, epsilons=0.1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_relative_step_size_is_a_multiple_of_eps_at_every_radius(norm: Norm) -> None:
    model = network()
    for eps in (0.1, 0.4):
        relative = pgd_attack(norm, steps=3, step_size=EpsMultiple(times_eps=0.25))
        absolute = pgd_attack(norm, steps=3, step_size=0.25 * eps)

        assert attacked_points(absolute, model, eps).equal(attacked_points(relative, model, eps))


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "targeted_margin"])
def test_losses_follow_their_definitions(loss: Loss) -> None:
    logits, labels, targets = (
        torch.tensor([[1.0, 4.0, 2.0], [5.0, 1.0, 0.0]]),
        torch.tensor([2, 0]),
        torch.tensor([0, 2]),
    )
    expected = {
        "cross_entropy": [
            math.log(math.exp(1) + math.exp(4)) - 2,
            math.log(math.exp(1) + math.exp(0)) - 5,
        ],
        "margin": [4.0 - 2.0, 1.0 - 5.0],
        "targeted_margin": [1.0 - 2.0, 0.0 - 5.0],
    }

    assert pytest.approx(expected[loss]) == loss_objective(loss)(logits, labels, targets).tolist()


def test_other_classes_are_sorted_by_logit_without_the_label() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [5.0, 1.0, 0.0]])

    assert [[1, 0], [1, 2]] == other_classes(logits, torch.tensor([2, 0])).tolist()


def test_sparse_descent_projects_each_sample_independently() -> None:
    attack = pgd_attack("l1", steps=1, step_size=0.1)
    images = torch.full((2, 1, 2, 2), 0.5)
    moved = images + torch.tensor([0.01, 0.4]).view(2, 1, 1, 1)
    projected = attack.project(astensor(moved), astensor(images), 0.2).raw

    assert moved[0].equal(projected[0])
    assert (projected[1] - images[1]).abs().sum().item() == pytest.approx(0.2)
