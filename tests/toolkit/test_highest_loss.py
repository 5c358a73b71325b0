from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples, SampleSubset
from advtransfer.toolkit.highest_loss import (
    highest_loss_examples,
    log_odds_loss,
    scale_at_random,
    unit_ball_points,
)
from advtransfer.toolkit.loss_attack import LossAttack
from advtransfer.toolkit.pgd import projected_ascent
from advtransfer.toolkit.rng import build_initialized, keyed_uniform, stream_generator
from advtransfer.types import DataCard

SHAPE = (1, 4, 4)


def images(count: int = 70) -> ArraySamples:
    generator = stream_generator("highest loss")
    card = DataCard(SHAPE, (0.0, 1.0), "classes", 3, ("a", "b", "c"), "")
    return ArraySamples(
        card=card,
        inputs=torch.rand((count, *SHAPE), generator=generator),
        labels=torch.randint(3, (count,), generator=generator),
    )


def network() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3))

    return build_initialized(build, stream_generator("network")).eval().requires_grad_(False)


def loss_of(model: nn.Module) -> Callable[..., Tensor]:
    return lambda points, labels: log_odds_loss(model(points), labels)


def attack_all(
    samples: ArraySamples | SampleSubset, attack: LossAttack, model: nn.Module | None = None
) -> Tensor:
    labels = samples.labels(torch.arange(len(samples)))
    return highest_loss_examples(
        loss_of(model or network()),
        samples,
        labels,
        attack=attack,
        seed=0,
        context=InMemoryContext(),
    )


def losses_at(samples: ArraySamples, points: Tensor) -> Tensor:
    return log_odds_loss(network()(points), samples.labels(torch.arange(len(samples))))


def test_cross_entropy_is_softplus_of_the_log_odds_loss() -> None:
    logits = 5 * torch.randn((50, 7), generator=stream_generator("logits"), dtype=torch.float64)
    labels = torch.arange(50) % 7

    assert torch.allclose(
        functional.softplus(log_odds_loss(logits, labels)),
        functional.cross_entropy(logits, labels, reduction="none"),
    )


def test_a_confident_model_has_a_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(log_odds_loss(logits, torch.tensor([0])).sum(), logits)

    assert gradient[0, 0] == -1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_model_the_example_is_the_closed_form(norm: str) -> None:
    """Two classes of a linear model: the loss is linear in the image, away from the box."""
    weights = torch.randn((2, 16), generator=stream_generator("linear"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False)).eval().requires_grad_(False)
    with torch.no_grad():
        model[1].weight.copy_(weights)  # type: ignore[operator]  # the weight of a linear layer
    card = DataCard(SHAPE, (0.0, 1.0), "classes", 2, ("a", "b"), "")
    samples = ArraySamples(
        card=card, inputs=torch.full((5, *SHAPE), 0.5), labels=torch.tensor([0, 1, 0, 1, 1])
    )
    found = attack_all(samples, LossAttack(norm=norm, eps=0.1, steps=20, step_size=0.3), model)  # type: ignore[arg-type]  # a norm by its name
    difference = (weights[1] - weights[0]).reshape(SHAPE)
    direction = difference.sign() if norm == "linf" else difference / difference.norm()
    sign = torch.tensor([1, -1, 1, -1, -1]).reshape(-1, 1, 1, 1)

    assert torch.allclose(found, 0.5 + 0.1 * sign * direction, atol=1e-4)


def test_examples_stay_in_ball_and_box_and_more_of_everything_raises_the_loss() -> None:
    samples = images()
    clean = samples.inputs(torch.arange(70))
    few = attack_all(samples, LossAttack(eps=0.2, steps=2, step_size=0.05))
    more = attack_all(samples, LossAttack(eps=0.2, steps=40, step_size=0.05))
    restarted = attack_all(samples, LossAttack(eps=0.2, steps=40, step_size=0.05, restarts=3))

    for points in (few, more, restarted):
        assert (points - clean).abs().max() <= 0.2 + 1e-6
        assert points.min() >= 0
        assert points.max() <= 1
    # Each contains the iterates of the one before it.
    assert (losses_at(samples, more) >= losses_at(samples, few) - 1e-6).all()
    assert (losses_at(samples, restarted) >= losses_at(samples, more) - 1e-6).all()


def test_without_momentum_it_is_the_projected_ascent_of_training() -> None:
    samples = images()
    inputs = samples.inputs(torch.arange(70))
    labels = samples.labels(torch.arange(70))
    attack = LossAttack(norm="l2", eps=0.5, steps=7, random_start=False)
    other = projected_ascent(
        lambda points: loss_of(network())(points, labels),
        inputs,
        torch.zeros_like(inputs),
        norm="l2",
        eps=0.5,
        steps=7,
        step_size=attack.effective_step_size,
        best=True,
    )

    assert torch.allclose(attack_all(samples, attack), other, atol=1e-6)


def test_momentum_follows_the_recursion_of_dong_et_al() -> None:
    samples = images(5)
    attack = LossAttack(eps=0.3, steps=4, step_size=0.02, random_start=False, momentum=1.0)
    found = attack_all(samples, attack)
    clean = samples.inputs(torch.arange(5))
    points, accumulated, reached = clean, torch.zeros_like(clean), [clean]
    for _ in range(4):
        points = points.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(losses_at(samples, points).sum(), points)
        accumulated = accumulated + gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
        points = (points.detach() + 0.02 * accumulated.sign()).clamp(0, 1)
        reached.append(points)
    best = torch.stack([losses_at(samples, each) for each in reached]).argmax(0)

    assert torch.allclose(found, torch.stack(reached)[best, torch.arange(5)], atol=1e-6)


def test_an_example_does_not_depend_on_the_other_samples() -> None:
    samples = images()
    attack = LossAttack(eps=0.2, steps=5, momentum=1.0, input_diversity=0.5, restarts=2)
    positions = torch.tensor([69, 3, 40])
    alone = attack_all(SampleSubset(samples, positions), attack)

    assert torch.equal(attack_all(samples, attack)[positions], alone)


def test_an_image_of_full_size_is_not_changed_by_input_diversity() -> None:
    pictures = images(6).inputs(torch.arange(6))
    never = torch.tensor([[0.9, 0.0, 0.5, 0.5]]).expand(6, 4)

    assert torch.equal(scale_at_random(pictures, never, 0.5), pictures)


def test_a_scaled_image_is_smaller_and_lies_where_the_numbers_say() -> None:
    white = torch.ones(1, 1, 20, 20)
    smallest_at_top_left = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    seen = scale_at_random(white, smallest_at_top_left, 1.0)[0, 0]
    ramp = torch.arange(20.0).expand(1, 1, 20, 20)
    shrunk = scale_at_random(ramp, smallest_at_top_left, 1.0)[0, 0, 5]

    # 90 % of 20 pixels are 18; the rest is black.
    assert torch.allclose(seen[:18, :18], torch.ones(18, 18))
    assert seen[18:].abs().max() == 0
    assert seen[:, 18:].abs().max() == 0
    # Between the centres of pixels a ramp stays one, 1 / 0.9 as steep.
    assert torch.allclose(shrunk[2:16].diff(), torch.full((13,), 1 / 0.9), atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_are_uniform_in_the_ball(norm: str) -> None:
    size = 3
    numbers = keyed_uniform(7, range(4000), (size if norm == "linf" else size + 1,))
    points = unit_ball_points(numbers, norm)  # type: ignore[arg-type]  # a norm by its name
    lengths = points.abs().amax(1) if norm == "linf" else points.norm(dim=1)

    assert lengths.max() <= 1 + 1e-6
    # The share within radius r is r ** size: its mean is 1/2, with a spread of 1 / sqrt(12 N).
    assert abs(float((lengths**size).mean()) - 0.5) < 4 / (12 * 4000) ** 0.5
    assert points.mean(0).abs().max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0}, "eps: a number above 0, not 0"),
        ({"eps": 0.1, "restarts": 2, "random_start": False}, "restarts: 1 without a random start"),
        ({"eps": 0.1, "input_diversity": 2}, "input_diversity: a probability from 0 to 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossAttack(**options)  # type: ignore[arg-type]  # options of a suite


def test_a_loss_that_is_not_finite_is_not_hidden() -> None:
    def losses(points: Tensor, labels: Tensor) -> Tensor:
        return torch.where(points.flatten(1)[:, 0] > 0.5, torch.nan, points.flatten(1).sum(1))

    samples = images(3)
    found = highest_loss_examples(
        losses,
        samples,
        samples.labels(torch.arange(3)),
        attack=LossAttack(eps=1, steps=10),
        seed=0,
        context=InMemoryContext(),
    )

    assert (found.flatten(1)[:, 0] > 0.5).all()
