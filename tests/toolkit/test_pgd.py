from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from advtransfer.toolkit.adversary import Adversary, TrainingNorm
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.pgd import (
    clip_to_bounds,
    measure_robust_accuracy,
    pgd,
    pgd_perturb,
    project_to_ball,
)
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard

SHAPE = (1, 3, 3)
WEIGHTS = torch.randn(9, generator=stream_generator("weights"))
LABELS = torch.arange(6) % 2
NORMS: list[TrainingNorm] = ["linf", "l2"]


class Linear(nn.Module):
    """Logits (0, w x): for label 0 the loss grows along w, for label 1 against it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHTS.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        margin = inputs.flatten(1) @ self.weight
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def _inputs(low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand((6, *SHAPE), generator=stream_generator("inputs"))


def _attack(
    model: nn.Module,
    inputs: Tensor,
    *,
    norm: TrainingNorm,
    eps: float,
    steps: int = 30,
    seed: int = 0,
) -> Tensor:
    return pgd(
        model,
        inputs,
        LABELS,
        norm=norm,
        eps=eps,
        steps=steps,
        step_size=eps,
        random_start=True,
        generator=stream_generator("start", seed),
    )


def _worst_direction() -> Tensor:
    return torch.where(LABELS == 0, 1.0, -1.0).view(-1, 1, 1, 1) * WEIGHTS.view(SHAPE)


def _sizes(delta: Tensor, norm: TrainingNorm) -> Tensor:
    sizes: Tensor = torch.linalg.vector_norm(
        delta.flatten(1), ord=2 if norm == "l2" else torch.inf, dim=1
    )
    return sizes


def test_a_linear_model_is_attacked_along_the_signs_of_its_weights() -> None:
    inputs = _inputs(0, 1)
    expected = (inputs + 0.2 * _worst_direction().sign()).clamp(0, 1)

    assert expected.allclose(_attack(Linear(), inputs, norm="linf", eps=0.2), atol=1e-6)


def test_a_linear_model_is_attacked_along_its_weights_in_l2() -> None:
    inputs = _inputs(0.4, 0.6)
    expected = inputs + 0.3 * _worst_direction() / WEIGHTS.norm()

    assert expected.allclose(_attack(Linear(), inputs, norm="l2", eps=0.3), atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_attacked_inputs_stay_in_the_ball_and_in_the_box(norm: TrainingNorm, steps: int) -> None:
    inputs = _inputs(0, 1)
    attacked = _attack(Linear(), inputs, norm=norm, eps=0.5, steps=steps)

    assert _sizes(attacked - inputs, norm).max() <= 0.5 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert not attacked.requires_grad


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_fill_the_ball_and_depend_on_the_generator_alone(norm: TrainingNorm) -> None:
    inputs = torch.full((6, *SHAPE), 0.5)
    first, again, other = (
        _attack(Linear(), inputs, norm=norm, eps=0.4, steps=0, seed=seed) for seed in (0, 0, 1)
    )

    assert first.equal(again)
    assert not first.equal(other)
    # the radius of a uniform point of a ball in 9 dimensions exceeds half of it but for one in 512
    assert _sizes(first - inputs, norm).min() > 0.2


def test_inputs_stay_unchanged_without_random_start_and_steps() -> None:
    inputs = _inputs(0, 1)
    still = pgd(
        Linear(),
        inputs,
        LABELS,
        norm="linf",
        eps=0.1,
        steps=0,
        step_size=0.1,
        random_start=False,
        generator=stream_generator("unused"),
    )

    assert inputs.equal(still)


def test_the_attack_leaves_weights_gradients_and_global_randomness_alone() -> None:
    model = Linear()
    state = torch.get_rng_state()
    _attack(model, _inputs(0, 1), norm="l2", eps=0.1)

    assert model.weight.grad is None
    assert model.weight.requires_grad
    assert WEIGHTS.equal(model.weight.detach())
    assert state.equal(torch.get_rng_state())


def test_a_zero_gradient_leaves_inputs_unchanged() -> None:
    flat = Linear()
    nn.init.zeros_(flat.weight)
    inputs = _inputs(0.4, 0.6)
    attacked = pgd(
        flat,
        inputs,
        LABELS,
        norm="l2",
        eps=0.1,
        steps=3,
        step_size=0.1,
        random_start=False,
        generator=stream_generator("unused"),
    )

    assert inputs.allclose(attacked)


def test_a_sample_is_perturbed_equally_in_every_batch() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 2))

    model = build_initialized(build, stream_generator("model"))
    inputs = _inputs(0.3, 0.7)
    options = {"norm": "l2", "eps": 0.2, "steps": 5, "step_size": 0.1, "random_start": False}
    adversary = Adversary(norm="l2", eps=0.2, steps=5, step_size=0.1, random_start=False)
    perturb = pgd_perturb(adversary)
    whole = perturb(model, inputs, LABELS, stream_generator("unused"))
    halves = [
        perturb(model, inputs[at], LABELS[at], stream_generator("unused"))
        for at in (slice(0, 3), slice(3, 6))
    ]

    assert options == {name: getattr(adversary, name) for name in options}
    assert whole.allclose(torch.cat(halves), atol=1e-6)


@given(st.floats(1e-3, 4), st.integers(0, 2**40))
@pytest.mark.parametrize("norm", NORMS)
def test_a_projection_lies_in_the_ball_and_keeps_points_inside(
    norm: TrainingNorm, eps: float, seed: int
) -> None:
    delta = torch.randn((5, *SHAPE), generator=stream_generator("delta", seed))
    projected = project_to_ball(delta, norm, eps)
    inside = _sizes(delta, norm) <= eps

    assert _sizes(projected, norm).max() <= eps * (1 + 1e-6)
    assert delta[inside].equal(projected[inside])
    assert projected.allclose(project_to_ball(projected, norm, eps), rtol=1e-6)


def test_a_projection_is_the_nearest_point_of_the_ball() -> None:
    delta = torch.tensor([[3.0, 4.0]])

    assert [[0.6, 0.8]] == pytest.approx(project_to_ball(delta, "l2", 1.0).numpy())
    assert [[1.0, 1.0]] == project_to_ball(delta, "linf", 1.0).tolist()
    assert [[0.0, 0.0]] == project_to_ball(torch.zeros(1, 2), "l2", 1.0).tolist()


def test_a_clipped_input_has_a_gradient_at_its_bounds_and_none_outside() -> None:
    inputs = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    clipped = clip_to_bounds(inputs, (0, 1))
    (gradient,) = torch.autograd.grad(clipped.sum(), inputs)

    assert [0, 0, 0.5, 1, 1] == clipped.tolist()
    assert [0, 1, 1, 1, 0] == gradient.tolist()


@pytest.mark.parametrize("norm", NORMS)
def test_robust_accuracy_falls_with_the_radius(norm: TrainingNorm) -> None:
    card = DataCard(SHAPE, (0.0, 1.0), "classes", 2, ("0", "1"), "test")
    inputs = _inputs(0, 1)
    model = Linear()
    labels = model(inputs).argmax(1).detach()
    samples = ArraySamples(card=card, inputs=inputs, labels=labels)

    def accuracy(eps: float) -> float:
        return measure_robust_accuracy(
            model,
            samples,
            Adversary(norm=norm, eps=eps),
            generator=stream_generator("start"),
            device=torch.device("cpu"),
        )

    assert accuracy(1e-6) == 1
    assert accuracy(1.0) < 1
