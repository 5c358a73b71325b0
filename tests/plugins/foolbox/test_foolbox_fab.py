"""FAB: its projections beside scipy's optimum, linear models exactly, and samples that do not see each other."""

from __future__ import annotations

import copy
import math
from typing import TypeAlias

import numpy as np
import pytest
import torch
from foolbox.models.pytorch import PyTorchModel
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import DataCard, EvaluationInputs, Measurement, Outcome
from advtransfer_foolbox.attack_settings import Fab
from advtransfer_foolbox.components.ensembles import ensemble
from advtransfer_foolbox.components.fab_square import fab, square
from advtransfer_foolbox.fab import FastAdaptiveBoundary
from advtransfer_foolbox.hyperplanes import project_onto_hyperplane
from advtransfer_foolbox.norms import distances_to_images

Case: TypeAlias = tuple[nn.Sequential, ArraySamples]
ORDERS: dict[Norm, float] = {"linf": math.inf, "l2": 2.0, "l1": 1.0}


def planes(count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points, some of whose pixels lie on the box, normals with zeros, and heights of which some are out of reach."""
    source = torch.Generator().manual_seed(0)
    points = (1.4 * torch.rand(count, size, generator=source, dtype=torch.float64) - 0.2).clamp(
        0, 1
    )
    normals = torch.randn(count, size, generator=source, dtype=torch.float64)
    normals[:, 0] = 0
    normals[:, 1] = normals[:, 2]  # a tie
    heights = 1.5 * torch.randn(count, generator=source, dtype=torch.float64)
    return points, normals, heights


def scipy_optimum(point: Tensor, normal: Tensor, height: float, norm: Norm) -> float | None:
    """The least size of a move in the box onto the plane; None where no point of the box lies on it."""
    size = len(point)
    weights, low, high = normal.numpy(), -point.numpy(), 1 - point.numpy()
    reach = np.where(weights * -np.sign(height) > 0, high, -low) * np.abs(weights)
    if reach.sum() < abs(height):
        return None
    if norm == "l2":
        found = minimize(
            lambda move: move @ move,
            np.zeros(size),
            jac=lambda move: 2 * move,
            bounds=list(zip(low, high, strict=True)),
            constraints={"type": "eq", "fun": lambda move: height + weights @ move},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return float(np.sqrt(found.fun))
    # l_1: one bound a pixel; l_inf: one bound for all pixels. Minimise the (sum of the) bounds.
    bounds = size if norm == "l1" else 1
    pick = np.eye(size) if norm == "l1" else np.ones((size, 1))
    found = linprog(
        np.concatenate([np.zeros(size), np.ones(bounds)]),
        A_ub=np.block([[np.eye(size), -pick], [-np.eye(size), -pick]]),
        b_ub=np.zeros(2 * size),
        A_eq=np.concatenate([weights, np.zeros(bounds)])[None],
        b_eq=[-height],
        bounds=[*zip(low, high, strict=True), *[(0, None)] * bounds],
    )
    return float(found.fun)


@pytest.mark.parametrize("norm", ORDERS)
def test_projection_is_the_shortest_move_in_the_box_that_scipy_finds(norm: Norm) -> None:
    points, normals, heights = planes(60, 6)
    moves = project_onto_hyperplane(points, normals, heights, norm=norm)
    left_over = heights + (normals * moves).sum(1)
    unreachable = 0
    for row in range(len(points)):
        assert ((points[row] + moves[row] >= 0) & (points[row] + moves[row] <= 1)).all()
        optimum = scipy_optimum(points[row], normals[row], heights[row].item(), norm)
        if optimum is None:
            unreachable += 1
            room = torch.where(normals[row] * heights[row] < 0, 1 - points[row], points[row])
            closest = heights[row].abs() - (normals[row].abs() * room).sum()
            assert pytest.approx(closest.item(), abs=1e-12) == left_over[row].abs().item()
        else:
            size = torch.linalg.vector_norm(moves[row], ord=ORDERS[norm]).item()
            assert pytest.approx(optimum, rel=1e-5, abs=1e-9) == size
            assert pytest.approx(0, abs=1e-12) == left_over[row].item()
    assert 5 <= unreachable <= 40


@pytest.mark.parametrize("norm", ORDERS)
def test_projection_keeps_a_plane_without_normal_and_one_below_the_floor_of_squares(
    norm: Norm,
) -> None:
    points, normals, heights = planes(20, 6)
    exact = project_onto_hyperplane(points, normals, heights, norm=norm)
    tiny = project_onto_hyperplane(points, 2.0**-600 * normals, 2.0**-600 * heights, norm=norm)
    none = project_onto_hyperplane(points, 0 * normals, heights, norm=norm)

    assert torch.equal(exact, tiny)
    assert not none.any()


def exact_distances(case: Case, norm: Norm) -> Tensor:
    """The distance of each sample's nearest boundary in the box, ``(N,)``; infinite where it has none."""
    (_, layer), test = case
    assert isinstance(layer, nn.Linear)
    pixels = test.inputs(all_positions(test)).flatten(1).double()
    labels = test.labels(all_positions(test))
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    nearest = torch.full((len(test),), math.inf, dtype=torch.float64)
    for other in range(layer.out_features):
        normals = weight[other] - weight[labels]
        heights = (normals * pixels).sum(1) + bias[other] - bias[labels]
        moves = project_onto_hyperplane(pixels, normals, heights, norm=norm)
        lengths = torch.linalg.vector_norm(moves, ord=ORDERS[norm], dim=1)
        reached = (heights + (normals * moves).sum(1)).abs() < 1e-9
        is_other = labels != other
        nearest = torch.minimum(nearest, lengths.where(reached & is_other, math.inf))
    return nearest


def first_rows(case: Case, count: int) -> Case:
    model, test = case
    positions = torch.arange(count)
    return model, ArraySamples(
        card=test.card, inputs=test.inputs(positions), labels=test.labels(positions)
    )


def measured_by(
    case: Case, norm: Norm, eps: float | tuple[float, ...], *, steps: int = 30
) -> Measurement:
    model, test = case
    evaluation = fab(norm=norm, eps=eps, steps=steps, counts=True)
    return evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())


@pytest.mark.parametrize("norm", ORDERS)
@pytest.mark.parametrize("classes", ["linear_digits", "two_linear_classes"])
def test_distances_of_linear_models_are_exact_to_one_percent(
    classes: str, norm: Norm, request: pytest.FixtureRequest
) -> None:
    case = first_rows(request.getfixturevalue(classes), 64)
    measured = measured_by(case, norm, 1e-6)
    is_right = measured.outcomes["clean_accuracy"] == Outcome.ROBUST
    found = measured.samples["distance"][is_right]
    exact = exact_distances(case, norm)[is_right]

    assert (found >= exact - 1e-6).all()
    assert (found <= 1.01 * exact + 1e-5).all()


class Net(nn.Module):
    """A small fixed network of four classes."""

    def __init__(self) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(1)
        self.first = torch.randn(16, 36, generator=source)
        self.second = torch.randn(4, 16, generator=source) / 4

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh((inputs.flatten(1) - 0.5) @ self.first.T / 3) @ self.second.T


def random_case(count: int = 90) -> tuple[Net, ArraySamples]:
    model = Net().eval()
    inputs = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    card = DataCard((1, 6, 6), (0.0, 1.0), "classes", 4, tuple("abcd"), "")
    return model, ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))


@pytest.mark.parametrize("norm", ORDERS)
def test_sample_has_the_same_bits_in_any_batch_and_order(norm: Norm) -> None:
    model, test = random_case()
    images, labels = test.inputs(all_positions(test)), test.labels(all_positions(test))
    attack = FastAdaptiveBoundary(Fab(kind="fab", steps=8), norm=norm)
    targets = (labels + 1) % 4
    fmodel = PyTorchModel(model, bounds=(0, 1))
    whole = attack.attack_batch(fmodel, images, labels, targets=targets)
    some = torch.tensor([80, 3, 41])
    alone = attack.attack_batch(fmodel, images[some], labels[some], targets=targets[some])

    assert whole.is_adversarial.sum() > 60
    assert torch.equal(whole.points[some], alone.points)
    assert torch.equal(whole.forward_counts[some], alone.forward_counts)
    assert torch.equal(torch.full((90,), 8), whole.gradient_counts)


def test_stopping_inside_breaks_the_same_samples_with_fewer_queries() -> None:
    model, test = random_case()
    images, labels = test.inputs(all_positions(test)), test.labels(all_positions(test))
    fmodel = PyTorchModel(model, bounds=(0, 1))
    attack = FastAdaptiveBoundary(Fab(kind="fab", steps=20), norm="l2")
    targets = (labels + 1) % 4
    nearest = attack.attack_batch(fmodel, images, labels, targets=targets)
    stopped = attack.attack_batch(fmodel, images, labels, targets=targets, stop_within=0.2)
    near = distances_to_images(nearest.points, images, norm="l2")
    inside = distances_to_images(stopped.points, images, norm="l2")

    broken = nearest.is_adversarial & (near <= 0.2)
    assert 10 < broken.sum() < 80
    assert torch.equal(broken, stopped.is_adversarial & (inside <= 0.2))
    # The last search alone, after all steps, brings some of them inside.
    assert stopped.gradient_counts[broken].double().mean() < 10
    assert torch.equal(nearest.points[~broken], stopped.points[~broken])


def test_gradient_that_is_not_finite_leaves_the_sample_unfinished() -> None:
    class Broken(Net):
        def forward(self, inputs: Tensor) -> Tensor:
            # The corner changes no difference of logits, but the root's gradient at 0 is NaN.
            corner = inputs.flatten(1)[:, :1]
            return (
                super().forward(torch.cat([torch.zeros_like(corner), inputs.flatten(1)[:, 1:]], 1))
                + corner.sqrt()
            )

    test = random_case(20)[1]
    inputs = test.inputs(all_positions(test)).clone()
    inputs[:, 0, 0, 0] = (torch.arange(20) % 2).float()
    model = Broken().eval()
    black = ArraySamples(card=test.card, inputs=inputs, labels=model(inputs).argmax(1))
    evaluation = fab(norm="linf", eps=1e-6, steps=5)
    measured = evaluation.measure(
        EvaluationInputs(test=black, model=model), context=InMemoryContext()
    )

    expected = [Outcome.UNKNOWN, Outcome.ROBUST] * 10
    assert expected == measured.outcomes["robust_accuracy@1e-06"].tolist()


def test_one_run_serves_all_radii_and_counts_its_queries(linear_digits: Case) -> None:
    measured = measured_by(first_rows(linear_digits, 64), "linf", (0.02, 0.05), steps=5)
    small, large = (measured.outcomes[f"robust_accuracy@{eps:g}"] for eps in (0.02, 0.05))
    distance = measured.samples["distance"]

    assert torch.equal(small == Outcome.BROKEN, (distance > 0) & (distance <= 0.02 + 1e-6))
    assert torch.equal(large == Outcome.BROKEN, (distance > 0) & (distance <= 0.05 + 1e-6))
    # 5 steps towards each of 9 classes for those that stand at the smallest radius.
    assert (measured.samples["gradients"][small == Outcome.ROBUST] == 45).all()


def test_ladder_in_an_ensemble_breaks_what_its_radii_break_alone(linear_digits: Case) -> None:
    model, test = first_rows(linear_digits, 64)

    def outcomes(*radii: float) -> dict[str, Tensor]:
        evaluation = ensemble(norm="l2", eps=radii, attacks=(Fab(kind="fab", steps=4, targets=3),))
        inputs = EvaluationInputs(test=test, model=model)
        return dict(evaluation.measure(inputs, context=InMemoryContext()).outcomes)

    ladder = outcomes(0.3, 0.6)
    for eps in (0.3, 0.6):
        name = f"robust_accuracy@{eps:g}"
        assert torch.equal(outcomes(eps)[name], ladder[name])
    assert (ladder["robust_accuracy@0.3"] != ladder["robust_accuracy@0.6"]).any()


@pytest.mark.parametrize("norm", ORDERS)
def test_outcomes_on_the_pretend_gpu_are_those_of_the_cpu(norm: Norm, linear_digits: Case) -> None:
    model, test = first_rows(linear_digits, 16)
    eps = {"linf": 0.35, "l2": 1.0, "l1": 4.0}[norm]
    evaluations = (
        fab(norm=norm, eps=eps, steps=2, targets=1),
        square(norm=norm, eps=eps, queries=9),
    )
    for evaluation in evaluations:
        inputs = EvaluationInputs(test=test, model=model)
        expected = evaluation.measure(inputs, context=InMemoryContext())
        with pretend_cuda():
            moved = EvaluationInputs(test=test, model=copy.deepcopy(model).to("cuda"))
            measured = evaluation.measure(moved, context=InMemoryContext(device="cuda"))
        name = f"robust_accuracy@{eps:g}"
        assert torch.equal(expected.outcomes[name], measured.outcomes[name])
        assert (expected.outcomes[name] == Outcome.BROKEN).any()


def test_foolbox_calls_it_with_several_radii(linear_digits: Case) -> None:
    model, test = linear_digits
    images, labels = test.inputs(all_positions(test))[:10], test.labels(all_positions(test))[:10]
    attack = FastAdaptiveBoundary(Fab(kind="fab", steps=10), norm="linf")
    raw, _, success = attack(PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=[0.02, 1])
    exact = exact_distances(linear_digits, "linf")[:10]

    assert (distances_to_images(raw[0], images, norm="linf") <= 1.02 * exact + 1e-5).all()
    assert success[1].all()
