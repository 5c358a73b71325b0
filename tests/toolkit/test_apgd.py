"""Auto-PGD of trainings, held against the Foolbox plugin's, and the radius that rises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversarial_training import WarmedUpLoss, training_objective
from advtransfer.toolkit.adversary import (
    Adversary,
    Apgd,
    Fast,
    RisingMethod,
    Trades,
    TrainingNorm,
    at_strength,
)
from advtransfer.toolkit.apgd import apgd_perturb, auto_projected_ascent
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer_foolbox.apgd_steps import MomentumAscent

RADII: list[tuple[TrainingNorm, float]] = [("linf", 0.1), ("l2", 0.6)]


def _network(dtype: torch.dtype = torch.float64) -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 30), nn.Tanh(), nn.Linear(30, 4))

    network = build_initialized(build, stream_generator("apgd"))
    with torch.no_grad():
        # Steep, so that the loss oscillates and step sizes are halved.
        for weight in network.parameters():
            weight.mul_(4)
    return network.to(dtype).eval()


def _images(count: int = KERNEL_BATCH, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, 3, 4, 4, generator=generator, dtype=dtype)


@pytest.mark.parametrize(("norm", "eps"), RADII)
@pytest.mark.parametrize("steps", [1, 3, 10, 25])
def test_it_walks_as_the_attack_of_evaluations_does(
    norm: TrainingNorm, eps: float, steps: int
) -> None:
    network, images = _network(), _images()
    labels = torch.arange(KERNEL_BATCH) % 4

    def losses(points: Tensor) -> Tensor:
        return functional.cross_entropy(network(points), labels, reduction="none")

    ascent = MomentumAscent(like=images, norm=norm, eps=eps, steps=steps, rho=0.75)
    ascent.begin(torch.arange(KERNEL_BATCH), images, images)
    while not ascent.is_over().any():
        points = ascent.points.detach().requires_grad_()
        values = losses(points)
        (gradients,) = torch.autograd.grad(values.sum(), points)
        ascent.advance(values.detach(), gradients)
    found = auto_projected_ascent(
        losses, images, torch.zeros_like(images), norm=norm, eps=eps, steps=steps
    )

    torch.testing.assert_close(losses(found), losses(ascent.best_points), atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(found, ascent.best_points, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize(("norm", "eps"), RADII)
def test_a_linear_loss_ends_at_the_farthest_point_of_the_ball(
    norm: TrainingNorm, eps: float
) -> None:
    images = torch.full((3, 1, 2, 2), 0.5)
    slope = torch.tensor([[1.0, -2.0, 3.0, 0.5]]).view(1, 1, 2, 2)
    direction = slope.sign() if norm == "linf" else slope / slope.norm()
    eps = min(eps, 0.3)
    found = auto_projected_ascent(
        lambda points: (slope * points).flatten(1).sum(1),
        images,
        torch.zeros_like(images),
        norm=norm,
        eps=eps,
        steps=1,
    )

    torch.testing.assert_close(found, images + eps * direction)


@pytest.mark.parametrize(("norm", "eps"), RADII)
@pytest.mark.parametrize("random_start", [True, False])
def test_points_stay_in_ball_and_box_and_no_loss_falls(
    norm: TrainingNorm, eps: float, random_start: bool
) -> None:
    network, images = _network(torch.float32), _images(20, torch.float32).round(decimals=1)
    labels = torch.arange(20) % 4
    adversary = Apgd(kind="apgd", norm=norm, eps=eps, random_start=random_start)
    perturb = apgd_perturb(adversary, task="classes", bounds=(0.0, 1.0))
    points = perturb(network, images, labels, torch.Generator().manual_seed(0))
    distances = (points - images).flatten(1).norm(p=torch.inf if norm == "linf" else 2, dim=1)

    assert distances.max() <= eps * (1 + 1e-5)
    assert points.min() >= 0
    assert points.max() <= 1
    assert all(weight.requires_grad for weight in network.parameters())
    if not random_start:
        before, after = (
            functional.cross_entropy(network(inputs), labels, reduction="none")
            for inputs in (images, points)
        )
        assert (after >= before).all()
        assert after.mean() > before.mean() + 0.1


def test_it_finds_a_higher_loss_than_pgd_with_as_many_steps() -> None:
    network, images = _network(torch.float32), _images(200, torch.float32)
    labels = network(images).argmax(1)
    generator = torch.Generator()

    def mean_loss(points: Tensor) -> float:
        return functional.cross_entropy(network(points), labels).item()

    apgd = apgd_perturb(
        Apgd(kind="apgd", eps=0.05, random_start=False), task="classes", bounds=(0.0, 1.0)
    )
    pgd = pgd_perturb(Adversary(eps=0.05, steps=10, step_size=0.05, random_start=False))

    assert mean_loss(apgd(network, images, labels, generator)) > mean_loss(
        pgd(network, images, labels, generator)
    )


def test_nan_is_found() -> None:
    images = torch.full((2, 1, 2, 2), 0.5)
    found = auto_projected_ascent(
        lambda points: torch.where(points > 0.55, torch.nan, points).flatten(1).sum(1),
        images,
        torch.zeros_like(images),
        norm="linf",
        eps=0.1,
        steps=5,
    )

    assert (found > 0.55).all()


def _warmed(share: float) -> list[RisingMethod]:
    return [
        Adversary(eps=0.2, steps=2, step_size=0.1, warmup=share),
        Apgd(kind="apgd", eps=0.2, steps=2, warmup=share),
        Trades(kind="trades", eps=0.2, steps=2, warmup=share),
        Fast(kind="fast", eps=0.2, warmup=share),
    ]


def test_strength_scales_the_radius_and_a_given_step() -> None:
    pgd, apgd, trades, fast = (at_strength(adversary, 0.5) for adversary in _warmed(0.3))

    assert pgd == Adversary(eps=0.1, steps=2, step_size=0.05)
    assert apgd == Apgd(kind="apgd", eps=0.1, steps=2)
    assert trades == Trades(kind="trades", eps=0.1, steps=2)
    assert fast == Fast(kind="fast", eps=0.1)


@pytest.mark.parametrize("index", range(4))
def test_the_radius_rises_to_eps_and_stays(index: int) -> None:
    adversary = _warmed(0.5)[index]
    objective = training_objective(adversary, steps=8)
    assert isinstance(objective, WarmedUpLoss)
    network = _network(torch.float32)
    images, labels = _images(8, torch.float32), torch.arange(8) % 4
    for step in range(1, 9):
        share = min(1.0, step / 4)
        plain = training_objective(at_strength(adversary, share))
        ((loss, _),) = objective(network, images, labels, torch.Generator().manual_seed(step))
        ((expected, _),) = plain(network, images, labels, torch.Generator().manual_seed(step))
        assert loss.equal(expected)


def test_a_warmup_without_the_number_of_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found a warmup of 0\.5 and no number of steps"):
        training_objective(_warmed(0.5)[0])
    with pytest.raises(ValueError, match="warmup: a share of the training, from 0 to 1, not 2"):
        Apgd(kind="apgd", eps=0.1, warmup=2)


@pytest.mark.parametrize("task", ["attributes", "values"])
def test_other_losses_are_ascended_as_well(task: str) -> None:
    network, images = _network(torch.float32), _images(6, torch.float32)
    labels = (torch.arange(24).view(6, 4) % 2).float()
    objective = training_objective(Apgd(kind="apgd", eps=0.1), task=task)  # type: ignore[arg-type]  # a word of the parameters
    plain = training_objective(None, task=task)  # type: ignore[arg-type]  # as above
    ((loss, _),) = objective(network, images, labels, torch.Generator())
    ((clean, _),) = plain(network, images, labels, torch.Generator())

    assert loss > clean


def test_training_against_it_makes_a_network_robust() -> None:
    data = toy(noise=0.4)

    def attacked_loss(adversary: Apgd | None) -> float:
        model = build_initialized(
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)),
            stream_generator("model"),
        )
        train(
            model,
            data.part("train"),
            epochs=20,
            batch_size=20,
            optimiser=Sgd(lr=0.1),
            schedule=Schedule(),
            context=InMemoryContext(),
            objective=training_objective(adversary, steps=60),
        )
        part = data.part("test")
        inputs, labels = part.inputs(torch.arange(30)), part.labels(torch.arange(30))
        attack = pgd_perturb(Adversary(eps=0.3, steps=20, random_start=False))
        points = attack(model, inputs, labels, torch.Generator())
        return functional.cross_entropy(model(points), labels).item()

    robust = attacked_loss(Apgd(kind="apgd", eps=0.3, steps=5, warmup=0.3))

    assert robust < 0.7 * attacked_loss(None)
