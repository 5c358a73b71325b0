"""The battery's ascent in l_1, against results that are known otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.oracle import LinearClassifier, exact_robustness
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.worker.verification.ascent import AscentResult, targeted_margin_loss
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.config import ThreatModel
from advtransfer.worker.verification.sparse_ascent import (
    SparseRows,
    radius_phases,
    sparse_ascent,
    steepest_pixels,
)

EPS, BOX = 0.6, (0.0, 1.0)
BALL = Ball(ThreatModel("l1", EPS), BOX)
INPUTS = torch.rand(70, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A small network of random weights."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 4))

    return build_initialized(build, stream_generator("sparse ascent")).eval()


def ascend(model: nn.Module, rows: list[int] | None = None, *, on: bool = False) -> AscentResult:
    """Ascend to the class of second largest logit."""
    inputs = INPUTS if rows is None else INPUTS[rows]
    labels, targets = model(inputs).topk(2, dim=1).indices.unbind(1)
    return sparse_ascent(
        model,
        inputs,
        labels,
        ball=BALL,
        start=inputs,
        steps=30,
        loss=targeted_margin_loss,
        targets=targets,
        on=on,
    )


def distances(points: Tensor) -> Tensor:
    lengths: Tensor = (points - INPUTS).flatten(1).double().abs().sum(1)
    return lengths


def test_phases_have_all_steps_and_end_in_the_ball() -> None:
    assert [(3.0, 15), (2.0, 15), (1.0, 20)] == radius_phases(50)
    assert [(1.0, 2)] == radius_phases(2)
    for steps in range(1, 120):
        phases = radius_phases(steps)
        assert steps == sum(count for _, count in phases)
        assert 1.0 == phases[-1][0]


def test_step_moves_the_steepest_pixels_that_can_move() -> None:
    gradients = torch.tensor([[5.0, -4.0, 3.0, 2.0, 0.0], [0.0, 0.0, -1.0, 0.0, 0.0]])
    points = torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.0, 0.5, 0.5]])
    counts = torch.tensor([2.9, 1.0])

    boxed, free = (steepest_pixels(gradients, points, counts, bounds=box) for box in (BOX, None))

    # The first pixel cannot rise above the box, and the third of the other image not fall below.
    assert torch.equal(torch.tensor([[0, -0.5, 0.5, 0, 0], [0] * 5]), boxed)
    assert torch.equal(torch.tensor([[0.5, -0.5, 0, 0, 0], [0, 0, -1.0, 0, 0]]), free)


def test_steps_get_shorter_once_the_changed_pixels_have_settled() -> None:
    """Equation 9 by hand: 10 pixels were changed, and now 6, 10, and 10 in the shortest steps."""
    inputs = torch.zeros(3, 1, 1, 20)
    rows = SparseRows.at_start(inputs, inputs)
    rows.changed = torch.full((3,), 10.0)
    rows.step_lengths = torch.tensor([0.5, 0.9, 0.11])
    rows.best_points = (
        (torch.arange(20) < torch.tensor([6, 10, 10])[:, None]).float().view(3, 1, 1, 20)
    )
    rows.best_gradients = torch.full_like(inputs, 7.0)

    gradients = rows.adapt_steps(1.0, torch.ones_like(inputs))

    assert torch.allclose(torch.tensor([1.0, 0.6, 0.1]), rows.step_lengths)
    assert torch.allclose(torch.tensor([4.0, 10 / 1.5, 10 / 1.5]), rows.moved)
    # The sparser one goes on from its best point.
    assert torch.equal(rows.best_points[0], rows.points[0])
    assert torch.equal(inputs[1:], rows.points[1:])
    assert [7.0, 1.0, 1.0] == gradients[:, 0, 0, 0].tolist()


def test_first_steps_move_a_fifth_of_the_pixels_however_sparse_the_start() -> None:
    rows = SparseRows.at_start(INPUTS, INPUTS)
    rows.begin_phase(BALL)
    rows.take_steps(BALL, torch.randn(INPUTS.shape, generator=torch.Generator().manual_seed(1)))

    moved = (rows.points != INPUTS).flatten(1).sum(1)
    assert {7} == set(moved.tolist())


def test_examples_are_misclassified_in_the_ball_and_other_points_in_it_too(
    network: nn.Module,
) -> None:
    found = ascend(network)
    labels = network(INPUTS).argmax(1)

    assert 10 < int(found.broken.sum()) < 60
    assert torch.equal(found.broken, network(found.points).argmax(1) != labels)
    assert distances(found.points).max() <= EPS
    assert 0 <= found.points.min()
    assert found.points.max() <= 1
    further = ascend(network, on=True)
    assert torch.equal(found.broken, further.broken)
    assert distances(further.points).max() <= EPS


def test_result_does_not_depend_on_the_batch(network: nn.Module) -> None:
    order = [5, 69, 3, 41]
    whole, part = ascend(network), ascend(network, order)

    assert torch.equal(whole.broken[order], part.broken)
    assert torch.equal(whole.points[order], part.points)


def test_linear_model_falls_where_it_can() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(36, generator=generator)
    plane = LinearClassifier(weight, -(INPUTS.flatten(1) @ weight).median()).eval()
    labels = plane(INPUTS).argmax(1)
    robust, worst = exact_robustness(plane, INPUTS, labels, norm="l1", eps=EPS)
    found = sparse_ascent(
        plane,
        INPUTS,
        labels,
        ball=BALL,
        start=INPUTS,
        steps=50,
        loss=targeted_margin_loss,
        targets=1 - labels,
    )

    assert 10 < int(robust.sum()) < 60
    assert not (found.broken & robust).any()
    near = worst.abs() < 0.02 * worst.abs().median()
    assert torch.equal(~found.broken[~near], robust[~near])


def test_nan_logits_break_nothing_and_are_not_finite() -> None:
    class Nan(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1)[:, :4] * torch.nan

    labels = torch.zeros(70, dtype=torch.int64)
    found = sparse_ascent(
        Nan(),
        INPUTS,
        labels,
        ball=BALL,
        start=INPUTS,
        steps=10,
        loss=targeted_margin_loss,
        targets=labels + 1,
    )

    assert found.non_finite.all()
    assert not found.broken.any()
    assert found.points.isfinite().all()
