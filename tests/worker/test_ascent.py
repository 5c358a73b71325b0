"""The battery's gradient ascent, against results that are known otherwise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from advtransfer.worker.verification.ascent import (
    Ball,
    cross_entropy_loss,
    gradient_ascent,
    logits_and_gradient,
    margin_loss,
    steepest_direction,
)
from advtransfer.worker.verification.config import Norm, ThreatModel

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


@pytest.mark.parametrize("norm", LENGTHS)
def test_step_stays_in_ball_and_box(norm: Norm) -> None:
    ball = Ball(ThreatModel(norm, 0.3), (0.0, 1.0))
    gradient = torch.randn(INPUTS.shape, generator=torch.Generator().manual_seed(1))
    moved = ball.take_step(INPUTS, gradient, step=9.0, inputs=INPUTS)
    length = (moved - INPUTS).flatten(1).norm(p=LENGTHS[norm], dim=1)

    assert length.max() <= 0.3 + 1e-6
    assert 0 <= moved.min()
    assert moved.max() <= 1


def test_l1_projection_is_the_nearest_point() -> None:
    ball, centre = Ball(ThreatModel("l1", 1.0), None), torch.zeros(3, 1, 1, 3)
    points = torch.tensor([[3.0, 0.0, 0.0], [1.0, -1.0, 0.2], [0.2, 0.3, -0.1]]).view(3, 1, 1, 3)
    nearest = torch.tensor([[1.0, 0.0, 0.0], [0.5, -0.5, 0.0], [0.2, 0.3, -0.1]]).view(3, 1, 1, 3)

    assert torch.allclose(nearest, ball.project_back(points, centre), atol=1e-6)


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


def test_gradients_are_independent_of_the_batch() -> None:
    model = Scaled()
    together = logits_and_gradient(model, INPUTS, LABELS, margin_loss)
    apart = logits_and_gradient(model, INPUTS[5:9], LABELS[5:9], margin_loss)

    assert torch.equal(together[0][5:9], apart[0])
    assert torch.equal(together[1][5:9], apart[1])


def test_margin_breaks_a_model_with_flat_cross_entropy() -> None:
    model, ball = Scaled(1e4), Ball(ThreatModel("linf", 1.0), (0.0, 1.0))
    found = {
        loss: gradient_ascent(
            model, INPUTS, LABELS, ball=ball, start=INPUTS, steps=20, step=0.25, loss=loss
        )
        for loss in (margin_loss, cross_entropy_loss)
    }

    assert [True, False] == [
        bool(found[loss].broken.any()) for loss in (margin_loss, cross_entropy_loss)
    ]
    assert not found[margin_loss].zero_gradient.any()
    assert found[cross_entropy_loss].zero_gradient.all()


def test_nan_logits_break_nothing_and_are_not_finite() -> None:
    class Nan(Scaled):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) * torch.nan

    ball = Ball(ThreatModel("linf", 0.1), (0.0, 1.0))
    found = gradient_ascent(
        Nan(), INPUTS, LABELS, ball=ball, start=INPUTS, steps=3, step=0.1, loss=margin_loss
    )

    assert not found.broken.any()
    assert found.non_finite.all()


def test_output_without_gradient_counts_as_zero_gradient() -> None:
    class Cut(Scaled):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs.detach())

    assert not logits_and_gradient(Cut(), INPUTS, LABELS, margin_loss)[1].any()
