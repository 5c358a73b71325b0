"""Auto-PGD's formulas: checkpoints, step sizes, losses, the l_1 projection and the order of targets."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from foolbox.models.pytorch import PyTorchModel
from scipy.optimize import brentq
from scipy.special import logsumexp
from torch import nn
from torch.nn import functional

from advtransfer.toolkit.apgd import checkpoints
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.option_checks import Norm
from advtransfer_foolbox.apgd_losses import apgd_objective, rank_by_distance
from advtransfer_foolbox.apgd_steps import (
    MomentumAscent,
    l1_phases,
    project_into_l1_box,
)
from advtransfer_foolbox.attack_settings import ApgdLoss
from advtransfer_foolbox.norms import distances_to_images

LOSSES: list[ApgdLoss] = ["cross_entropy", "dlr", "targeted_dlr", "margin", "targeted_margin"]


# Steps and losses.


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 50, 77, 100, 1000])
def test_checkpoints_follow_the_formula(steps: int) -> None:
    shares = [Fraction(0), Fraction(22, 100)]
    while True:
        last = shares[-1] - shares[-2] - Fraction(3, 100)
        shares.append(shares[-1] + max(last, Fraction(6, 100)))
        if shares[-1] > 1:
            break
    expected = sorted({math.ceil(share * steps) for share in shares if share <= 1})

    assert expected == checkpoints(steps)


def test_checkpoints_of_a_hundred_steps_are_those_of_the_paper() -> None:
    assert [0, 22, 41, 57, 70, 80, 87, 93, 99] == checkpoints(100)


def reference_step_sizes(losses: np.ndarray, eps: float, rho: float) -> list[float]:
    """Step sizes by conditions 1 and 2 of algorithm 1, from the losses of one ascent.

    An ascent that goes back to its best point has that point's loss at this step.
    """
    size, sizes, was_halved, checked = 2 * eps, [], False, -math.inf
    current = list(losses)
    for earlier, later in pairwise(checkpoints(len(losses) - 1)):
        sizes += [size] * (later - earlier)
        window = range(earlier, later)
        best = max(losses[: later + 1])
        increases = sum(losses[i + 1] > current[i] for i in window)
        too_few = increases < rho * (later - earlier)
        stalled = not was_halved and checked == best
        was_halved = too_few or stalled
        if was_halved:
            size /= 2
            current[later] = best
        checked = best
    return sizes + [size] * (len(losses) - len(sizes))


def test_step_sizes_follow_conditions_one_and_two_on_scripted_losses() -> None:
    steps, eps, rho = 100, 0.25, 0.75
    numbers = np.arange(steps + 1)
    source = np.random.default_rng(0)
    scripts = [
        numbers,  # always rising: never halved
        -numbers,  # always falling: halved at every checkpoint
        numbers % 2,  # every other step rises: condition 1
        np.where(numbers <= 20, numbers, numbers - 1000),  # one fall: condition 2 alone
        numbers % 10,  # nine of ten steps rise, the best does not: condition 2
        *(np.cumsum(source.normal(shift, 1, steps + 1)) for shift in np.linspace(-1, 2, 40)),
    ]
    scripts += [numbers] * (KERNEL_BATCH - len(scripts))
    losses = torch.tensor(np.stack(scripts), dtype=torch.float64)
    images = torch.full((KERNEL_BATCH, 1, 1, 1), 0.5, dtype=torch.float64)
    ascent = MomentumAscent(like=images, norm="linf", eps=eps, steps=steps, rho=rho)
    ascent.begin(torch.arange(KERNEL_BATCH), images, images)

    found = []
    for step in range(steps + 1):
        assert not ascent.is_over().any()
        ascent.advance(losses[:, step], torch.ones_like(images))
        found.append(ascent.step_sizes)

    assert ascent.is_over().all()
    expected = [reference_step_sizes(np.asarray(script), eps, rho) for script in scripts]
    assert torch.equal(torch.tensor(expected, dtype=torch.float64), torch.stack(found, dim=1))
    assert [0.5, 0.5 / 2**8, 0.5 / 2**8] == [sizes[-1] for sizes in expected[:3]]
    assert torch.equal(losses.amax(1), ascent.best_losses)


def test_a_step_has_momentum_and_goes_on_from_the_best_point_when_it_is_halved() -> None:
    """The iterates of equation 2, of one pixel in a wide ball, computed by hand."""
    images = torch.full((KERNEL_BATCH, 1, 1, 1), 0.5, dtype=torch.float64)
    ascent = MomentumAscent(like=images, norm="linf", eps=0.01, steps=10, rho=0.75)
    ascent.begin(torch.arange(KERNEL_BATCH), images, images)
    points = []
    # Checkpoints at 3, 5, 6, ...: the loss of point 1 stays the best.
    for loss, sign in [(0, 1), (5, -1), (4, -1), (3, -1)]:
        points.append(float(ascent.points[0]))
        ascent.advance(torch.full((KERNEL_BATCH,), float(loss)), sign * torch.ones_like(images))
    points.append(float(ascent.points[0]))

    second = 0.51 + 0.75 * (0.49 - 0.51) + 0.25 * (0.51 - 0.5)
    third = max(0.49, second + 0.75 * (0.49 - second) + 0.25 * (second - 0.51))
    # From the best point, with half the step and the gradient there; momentum from point 2.
    fourth = 0.51 + 0.75 * (0.5 - 0.51) + 0.25 * (0.51 - second)
    assert [0.5, 0.51, second, third, fourth] == pytest.approx(points, abs=1e-12)


def formula(loss: ApgdLoss, logits: np.ndarray, label: int, target: int) -> float:
    """A loss as its paper writes it."""
    others = np.delete(logits, label)
    decreasing = np.sort(logits)[::-1]
    match loss:
        case "cross_entropy":
            return float(logsumexp(others) - logits[label])
        case "margin":
            return float(others.max() - logits[label])
        case "targeted_margin":
            return float(logits[target] - logits[label])
        case "dlr":
            return float(-(logits[label] - others.max()) / (decreasing[0] - decreasing[2]))
        case "targeted_dlr":
            spread = decreasing[0] - (decreasing[2] + decreasing[3]) / 2
            return float(-(logits[label] - logits[target]) / spread)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_follow_their_formulas(loss: ApgdLoss) -> None:
    logits = np.random.default_rng(1).normal(0, 3, (50, 6))
    labels = np.arange(50) % 6
    targets = (labels + 1 + np.arange(50) % 5) % 6

    found = apgd_objective(loss)(*map(torch.tensor, (logits, labels, targets)))

    expected = [
        formula(loss, row, int(label), int(target))
        for row, label, target in zip(logits, labels, targets, strict=True)
    ]
    assert expected == pytest.approx(found.tolist(), rel=1e-12)


def test_cross_entropy_ascends_in_its_own_direction_where_it_underflows() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    shape = torch.tensor([[4.0, 1.0, 0.0], [2.0, 1.9, -1.0], [1.0, 0.5, 0.4]])
    logits = shape.double().requires_grad_()
    (expected,) = torch.autograd.grad(
        functional.cross_entropy(logits, labels, reduction="sum"), logits
    )

    for scale in (1, 1000):
        scaled = (scale * shape).requires_grad_()
        loss = apgd_objective("cross_entropy")(scaled, labels, labels)
        (gradient,) = torch.autograd.grad(loss.sum(), scaled)
        assert torch.equal(gradient[:, 0], torch.full((3,), -1.0))
        if scale == 1:
            direction = expected / -expected[:, :1]
            torch.testing.assert_close(gradient.double(), direction, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_a_constant_model_has_finite_gradients(loss: ApgdLoss) -> None:
    logits = torch.zeros((2, 5), requires_grad=True)
    labels = torch.tensor([0, 3])

    value = apgd_objective(loss)(logits, labels, (labels + 1) % 5)
    (gradient,) = torch.autograd.grad(value.sum(), logits)

    assert gradient.isfinite().all()


# The l_1 ball within the box.


def judged_projection(point: np.ndarray, image: np.ndarray, eps: float) -> np.ndarray:
    """The nearest point of ball and box, by its dual variable, which scipy finds."""

    def moved(shift: float) -> np.ndarray:
        offset = point - image
        room = np.where(offset > 0, 1 - image, image)
        kept: np.ndarray = np.sign(offset) * np.clip(np.abs(offset) - shift, 0, room)
        return kept

    def excess(shift: float) -> float:
        return float(np.abs(moved(shift)).sum() - eps)

    shift = 0.0 if excess(0) <= 0 else brentq(excess, 0, np.abs(point - image).max(), xtol=1e-15)
    nearest: np.ndarray = image + moved(shift)
    return nearest


@pytest.mark.parametrize("eps", [0.05, 1.0, 3.0, 100.0])
def test_the_l1_projection_is_the_nearest_point_of_ball_and_box(eps: float) -> None:
    source = np.random.default_rng(2)
    images = np.clip(source.normal(0.5, 0.5, (40, 25)), 0, 1)
    points = images + source.normal(0, 0.7, (40, 25))
    points[:5] = images[:5]
    points[5:10] = np.round(points[5:10], 1)  # ties
    found = project_into_l1_box(
        torch.tensor(points).reshape(40, 1, 5, 5),
        torch.tensor(images).reshape(40, 1, 5, 5),
        eps=torch.full((40,), eps, dtype=torch.float64),
    ).reshape(40, 25)

    expected = [judged_projection(*row, eps) for row in zip(points, images, strict=True)]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-9)
    assert np.abs(found.numpy() - images).sum(1).max() <= eps + 1e-9


def test_l1_projections_in_float32_end_in_the_ball() -> None:
    source = torch.Generator().manual_seed(3)
    images = torch.rand((20, 3, 32, 32), generator=source)
    points = images + torch.randn(images.shape, generator=source)

    found = project_into_l1_box(points, images, eps=torch.full((20,), 12.0, dtype=torch.float64))

    distances = distances_to_images(found, images, norm="l1")
    assert distances.max() <= 12 + 1e-9
    assert distances.min() > 12 - 1e-3
    assert 0 <= found.min()
    assert found.max() <= 1


def test_l1_radii_shrink_to_eps_over_all_steps() -> None:
    assert [(36.0, 30), (24.0, 30), (12.0, 40)] == l1_phases(12.0, 100)
    assert [(3.0, 1)] == l1_phases(3.0, 1)
    for steps in range(1, 40):
        phases = l1_phases(1.0, steps)
        assert steps == sum(count for _, count in phases)
        assert 1.0 == phases[-1][0]


# The order of targets.


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_targets_are_ordered_by_the_distance_to_their_planes(
    linear_digits: tuple[nn.Sequential, ArraySamples], norm: Norm, dual: float
) -> None:
    model, test = linear_digits
    images = test.inputs(all_positions(test))[:KERNEL_BATCH]
    labels = test.labels(all_positions(test))[:KERNEL_BATCH]

    found = rank_by_distance(PyTorchModel(model, bounds=(0, 1)), images, labels, norm=norm)

    weight = model.state_dict()["1.weight"].double().numpy()
    logits = model(images).detach().double().numpy()
    for row, label in enumerate(labels.tolist()):
        others = [name for name in range(10) if name != label]
        slopes = [np.linalg.norm(weight[label] - weight[name], dual) for name in others]
        gaps = [logits[row, label] - logits[row, name] for name in others]
        order = np.argsort(np.array(gaps) / np.array(slopes))
        assert [others[place] for place in order] == found.classes[row].tolist()
    assert (1, 9) == (found.forwards, found.gradients)
