"""The battery's gradient ascent, against results that are known otherwise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from advtransfer.worker.verification.ascent import (
    Rivals,
    cross_entropy_loss,
    gradient_ascent,
    logits_and_gradient,
    targeted_margin_loss,
)
from advtransfer.worker.verification.ball import Ball, sparse_direction, steepest_direction
from advtransfer.worker.verification.config import Norm, ThreatModel
from advtransfer.worker.verification.image_gradients import image_gradients

INPUTS = torch.rand(70, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(70, dtype=torch.int64)
LENGTHS: dict[Norm, float] = {"linf": math.inf, "l2": 2, "l1": 1}


class Scaled(nn.Module):
    """A fixed linear classifier of two classes, its logits scaled."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer(
            "weight", torch.linspace(-1, 1, 16).view(16, 1) * torch.tensor([[1.0, -1.0]])
        )
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits, class 0 far ahead."""
        assert isinstance(self.weight, Tensor)
        return self.scale * (inputs.flatten(1) @ self.weight + torch.tensor([4.0, -4.0]))


BOX = (0.0, 1.0)


def length(delta: Tensor, norm: Norm) -> Tensor:
    lengths: Tensor = delta.flatten(1).double().norm(p=LENGTHS[norm], dim=1)
    return lengths


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_step_stays_in_ball_and_box(norm: Norm, progress: float) -> None:
    ball = Ball(ThreatModel(norm, 0.3), BOX)
    gradient = torch.randn(INPUTS.shape, generator=torch.Generator().manual_seed(1))
    moved = ball.take_step(INPUTS, gradient, progress=progress, scale=9.0, inputs=INPUTS)

    assert length(moved - INPUTS, norm).max() <= 0.3 + 1e-6
    assert 0 <= moved.min()
    assert moved.max() <= 1


@pytest.mark.parametrize("norm", LENGTHS)
def test_steepest_point_is_best_among_random_points_for_a_linear_loss(norm: Norm) -> None:
    ball = Ball(ThreatModel(norm, 0.3), BOX)
    # In l_2 the box would cut the step, so the inputs are kept away from it.
    inputs = 0.4 + 0.2 * INPUTS if norm == "l2" else INPUTS
    gradient = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))
    best = (ball.steepest_point(gradient, inputs) * gradient).flatten(1).sum(1)

    for draw in range(50):
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(draw))
        other = ball.project_back(inputs + noise, inputs)

        assert ((other * gradient).flatten(1).sum(1) <= best + 1e-4).all()


def test_l1_projection_is_the_nearest_point() -> None:
    ball, centre = Ball(ThreatModel("l1", 1.0), None), torch.zeros(3, 1, 1, 3)
    points = torch.tensor([[3.0, 0.0, 0.0], [1.0, -1.0, 0.2], [0.2, 0.3, -0.1]]).view(3, 1, 1, 3)
    nearest = torch.tensor([[1.0, 0.0, 0.0], [0.5, -0.5, 0.0], [0.2, 0.3, -0.1]]).view(3, 1, 1, 3)

    assert torch.allclose(nearest, ball.project_back(points, centre), atol=2e-5)


def test_l1_projection_with_a_box_is_that_of_a_general_solver() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    ball = Ball(ThreatModel("l1", 0.6), BOX)
    inputs = torch.rand(6, 5, generator=torch.Generator().manual_seed(2))
    points = inputs + torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    found = ball.project_back(points, inputs)
    for centre, point, projected in zip(inputs, points, found, strict=True):
        # The offset is the difference of two vectors of at least 0, whose sum the ball limits.
        aim = (point - centre).double().numpy()
        room = [*(1 - centre).tolist(), *centre.tolist()]
        solved = optimize.minimize(
            lambda parts, aim=aim: ((parts[:5] - parts[5:] - aim) ** 2).sum(),
            [0.0] * 10,
            bounds=[(0, most) for most in room],
            constraints={"type": "ineq", "fun": lambda parts: 0.6 - parts.sum()},
            options={"ftol": 1e-12, "maxiter": 1000},
        ).x
        distance = ((projected - centre).double().numpy() - aim) ** 2

        assert distance.sum() <= ((solved[:5] - solved[5:] - aim) ** 2).sum() + 1e-4


def test_l1_offset_moves_the_steepest_pixels_and_no_more() -> None:
    gradient = torch.linspace(-1, 2, 20).view(1, 1, 4, 5)
    direction = sparse_direction(gradient, 0.1).flatten()

    assert [18, 19] == direction.nonzero().flatten().tolist()
    assert torch.allclose(torch.tensor([0.5, 0.5]), direction[-2:])


@pytest.mark.parametrize("norm", LENGTHS)
def test_random_start_depends_on_the_sample_and_is_within_the_ball(norm: Norm) -> None:
    ball = Ball(ThreatModel(norm, 0.5), BOX)
    start = ball.random_start(INPUTS, range(70), what="start")
    order = [5, 3, 69]
    alone = ball.random_start(INPUTS[order], order, what="start")

    assert torch.equal(start[order], alone)
    assert length(start - INPUTS, norm).max() <= 0.25 + 1e-6
    assert not start.equal(ball.random_start(INPUTS, range(70), what="other start"))
    # In l_1 a start moves one of the 16 pixels, up or down.
    assert len(torch.unique((start - INPUTS).flatten(1), dim=0)) > 30


def test_tiny_gradient_has_a_direction_and_zero_gradient_none() -> None:
    tiny = torch.full((1, 1, 2, 2), 1e-40)

    assert torch.allclose(torch.full((1, 1, 2, 2), 0.5), steepest_direction(tiny, "l2"))
    assert torch.equal(torch.zeros(1, 1, 2, 2), steepest_direction(torch.zeros(1, 1, 2, 2), "l2"))


def test_noise_depends_on_the_sample_and_is_on_the_surface() -> None:
    ball = Ball(ThreatModel("l2", 0.5), (0.0, 1.0))
    both = ball.surface_points([3, 7], (1, 4, 4), what="noise", draws=2)
    alone = ball.surface_points([7], (1, 4, 4), what="noise", draws=2)

    assert torch.equal(both[1:], alone)
    assert torch.allclose(torch.full((2, 2), 0.5), both.flatten(2).norm(dim=2))


def test_targets_are_nearest_by_margin_over_slope() -> None:
    # Class 1 has the larger logit; class 2 is nearer, since its logit rises more steeply.
    layer = nn.Linear(2, 4)
    model = nn.Sequential(nn.Flatten(), layer)
    weight = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 4.0], [0.0, 0.1]])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.tensor([3.0, 2.0, 0.0, -9.0]))
    inputs = torch.zeros(2, 1, 1, 2)
    labels = torch.zeros(2, dtype=torch.int64)
    logits = model(inputs).detach()
    found = image_gradients(model, inputs, labels, logits, norm="l2", count=3)

    # Distances 3 / 4, 1 / .1 and 12 / .1.
    assert [[2, 1, 3]] * 2 == found.targets.tolist()
    nearest = image_gradients(model, inputs, labels, logits, norm="l2", count=1)
    assert [[2]] * 2 == nearest.targets.tolist()
    # The gradient of a margin is the difference of two rows of the weight.
    expected = (weight[[2, 1, 3]] - weight[0]).expand(2, 3, 2)
    assert torch.allclose(expected, found.target_margins.flatten(2))
    assert torch.allclose(expected[:, 1], found.likeliest_margin.flatten(1))
    probability = torch.softmax(torch.tensor([3.0, 2.0, 0.0, -9.0]), 0)
    rising = (probability - torch.tensor([1.0, 0.0, 0.0, 0.0])) @ weight
    assert torch.allclose(rising.expand(2, 2), found.cross_entropy.flatten(1), atol=1e-6)


def test_gradients_are_independent_of_the_batch() -> None:
    model = Scaled()
    together = logits_and_gradient(model, INPUTS, LABELS, cross_entropy_loss)
    apart = logits_and_gradient(model, INPUTS[5:9], LABELS[5:9], cross_entropy_loss)

    assert torch.equal(together[0][5:9], apart[0])
    assert torch.equal(together[1][5:9], apart[1])


def test_margin_breaks_a_model_with_flat_cross_entropy() -> None:
    model, ball = Scaled(1e4), Ball(ThreatModel("linf", 1.0), BOX)
    targets = torch.ones_like(LABELS)
    margin = gradient_ascent(
        model,
        INPUTS,
        LABELS,
        ball=ball,
        start=INPUTS,
        steps=20,
        loss=targeted_margin_loss,
        targets=targets,
    )
    entropy = gradient_ascent(
        model, INPUTS, LABELS, ball=ball, start=INPUTS, steps=20, loss=cross_entropy_loss
    )

    assert [True, False] == [bool(found.broken.any()) for found in (margin, entropy)]
    assert not margin.zero_gradient.any()
    assert entropy.zero_gradient.all()


def test_nan_logits_break_nothing_and_are_not_finite() -> None:
    class Nan(Scaled):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) * torch.nan

    ball = Ball(ThreatModel("linf", 0.1), (0.0, 1.0))
    found = gradient_ascent(
        Nan(), INPUTS, LABELS, ball=ball, start=INPUTS, steps=3, loss=cross_entropy_loss
    )

    assert not found.broken.any()
    assert found.non_finite.all()


def test_output_without_gradient_counts_as_zero_gradient() -> None:
    class Cut(Scaled):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs.detach())

    assert not logits_and_gradient(Cut(), INPUTS, LABELS, cross_entropy_loss)[1].any()


class Steps(nn.Module):
    """Logits whose margin of class t is the t-th pixel minus a height of its own."""

    def __init__(self, heights: list[float]) -> None:
        super().__init__()
        self.heights = torch.tensor(heights)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 1 + T)`` logits."""
        margins = inputs.flatten(1) - self.heights
        return torch.cat([torch.zeros(len(inputs), 1), margins], dim=1)


def test_rivals_stop_with_the_one_that_breaks_and_only_the_best_go_on() -> None:
    # Within 0.3 of 0.5 a pixel reaches 0.8: only the first margin of the first model is crossed.
    ball = Ball(ThreatModel("linf", 0.3), BOX)
    inputs = torch.full((3, 1, 1, 3), 0.5)
    labels, targets = torch.zeros(3, dtype=torch.int64), torch.tensor([1, 2, 3])

    def ascend(heights: list[float], *, trial_steps: int) -> tuple[list[bool], list[float]]:
        found = gradient_ascent(
            Steps(heights),
            inputs,
            labels,
            ball=ball,
            start=inputs,
            steps=6,
            loss=targeted_margin_loss,
            targets=targets,
            rivals=Rivals(3, trial_steps, 1),
        )
        moved = (found.points - inputs).flatten(1).gather(1, targets[:, None] - 1)
        return found.broken.tolist(), [round(value, 4) for value in moved.flatten().tolist()]

    # One step of a whole radius breaks it, and the others take none after it.
    assert ([True, False, False], [0.3, 0.3, 0.3]) == ascend([0.7, 0.9, 0.9], trial_steps=9)
    # After no step the largest margin is the second's, and it goes on alone.
    assert ([False, False, False], [0.0, 0.3, 0.0]) == ascend([0.95, 0.9, 0.95], trial_steps=0)


def test_winners_are_the_best_rows_of_each_sample() -> None:
    losses = torch.tensor([1.0, 3.0, 2.0, -5.0, -torch.inf, -4.0])

    assert [False, True, True, True, False, True] == Rivals(3, 1, 2).winners(losses).tolist()
    assert [False, True, False, False, False, True] == Rivals(3, 1, 1).winners(losses).tolist()
