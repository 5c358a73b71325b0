from __future__ import annotations

import math

import pytest
import torch

from advtransfer.toolkit.datasets import all_positions
from advtransfer_vision.components import datasets as vision_data
from advtransfer_vision.data import generated


def test_the_problem_is_that_of_the_paper_by_default() -> None:
    data = vision_data.synthetic()
    train, test = data.part("train"), data.part("test")

    assert ((50,), None, "values", 10) == (
        data.card().shape,
        data.card().bounds,
        data.card().task,
        data.card().outputs,
    )
    assert [5000, 5000] == [len(train), len(test)]
    assert ((5000, 50), (5000, 10)) == (
        train.inputs(all_positions(train)).shape,
        train.labels(all_positions(train)).shape,
    )
    assert torch.float32 == train.labels(all_positions(train)).dtype


def test_values_are_radial_basis_functions_of_the_points() -> None:
    problem = generated.draw_problem(inputs=3, outputs=2, clusters=4, bumps=5, seed=7)
    point = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    phi = [
        math.exp(-(math.dist(point.tolist(), centre) ** 2) / scale)
        for centre, scale in zip(problem.centres.tolist(), problem.scales.tolist(), strict=True)
    ]
    expected = [
        sum(weight * value for weight, value in zip(row, phi, strict=True)) + shift
        for row, shift in zip(problem.weights.tolist(), problem.shift.tolist(), strict=True)
    ]

    assert expected == pytest.approx(problem.values_at(point[None])[0].tolist(), abs=1e-12)


def test_a_part_holds_points_of_the_problem_and_their_values() -> None:
    data = vision_data.synthetic(n_train=100, inputs=3, outputs=2, clusters=4, bumps=5, seed=7)
    problem, train = (
        generated.draw_problem(inputs=3, outputs=2, clusters=4, bumps=5, seed=7),
        data.part("train"),
    )
    expected = problem.values_at(train.inputs(all_positions(train)).double()).float()

    assert expected.equal(train.labels(all_positions(train)))


def test_points_lie_around_the_means_which_take_turns() -> None:
    problem = generated.draw_problem(inputs=2, outputs=1, clusters=3, bumps=1, seed=0)
    points = problem.draw_inputs(30_000, torch.Generator().manual_seed(0))
    spread = (points - problem.means[torch.arange(30_000) % 3]).std(0)

    # 10,000 points a mean: the standard error of their average is 0.01
    for number in range(3):
        assert (points[number::3].mean(0) - problem.means[number]).abs().max() < 0.05
    assert (spread - 1).abs().max() < 0.02


def test_every_parameter_has_the_range_of_the_paper() -> None:
    problem = generated.draw_problem(inputs=50, outputs=10, clusters=10, bumps=1000, seed=0)

    for uniform in (problem.means, problem.centres, problem.weights, problem.shift):
        assert uniform.abs().max() <= 0.5
        assert uniform.abs().max() > 0.4
    assert 0 < problem.scales.min() < 1
    assert 99 < problem.scales.max() <= 100


def test_train_part_does_not_depend_on_the_size_of_the_test_part() -> None:
    few, many = (vision_data.synthetic(n_train=20, n_test=count).part("train") for count in (5, 50))

    assert few.inputs(all_positions(few)).equal(many.inputs(all_positions(many)))


def test_parts_share_no_point_and_seeds_share_nothing() -> None:
    first = vision_data.synthetic(n_train=20, n_test=20)
    second = vision_data.synthetic(n_train=20, n_test=20, seed=1)
    parts = [first.part("train"), first.part("test"), second.part("train"), second.part("test")]
    points = torch.cat([part.inputs(all_positions(part)) for part in parts])

    assert 80 == len({tuple(point) for point in points.tolist()})
    assert first.card().digest != second.card().digest
    assert first.card() == vision_data.synthetic(n_train=20, n_test=20).card()
