"""Square: windows and bumps beside their formulas, proposals in ball and box, samples that do not see each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advtransfer.testing.canaries.oracle import plane_subject
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import keyed_uniform
from advtransfer.types import DataCard, EvaluationInputs, Measurement, Outcome, Shape
from advtransfer_foolbox.attack_settings import Square
from advtransfer_foolbox.components.fab_square import square
from advtransfer_foolbox.norms import distances_to_images
from advtransfer_foolbox.square import SquareAttack
from advtransfer_foolbox.square_windows import HALVINGS, Proposals, double_bump

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
CPU = torch.device("cpu")
COLOUR: Shape = (3, 12, 12)
RADII: dict[Norm, float] = {"linf": 0.1, "l2": 1.5, "l1": 6.0}


def draw(numbers: Sequence[int], shape: Shape, step: int) -> Tensor:
    return keyed_uniform(100 + step, numbers, shape)


def proposals(norm: Norm, *, shape: Shape = COLOUR) -> Proposals:
    return Proposals(norm=norm, eps=RADII[norm], shape=shape, first_share=0.8, device=CPU)


def images(count: int) -> Tensor:
    """Images of which a fifth of the pixels lies on the box."""
    source = torch.Generator().manual_seed(0)
    return (1.4 * torch.rand(count, *COLOUR, generator=source) - 0.2).clamp(0, 1)


@pytest.mark.parametrize("norm", NORMS)
def test_proposals_lie_in_ball_and_box_and_change_only_their_windows(norm: Norm) -> None:
    proposed = proposals(norm)
    centres = images(40)
    points = proposed.first_points(centres, draw(range(40), proposed.start_shape, 0))
    for stage in range(6):
        assert (distances_to_images(points, centres, norm=norm) <= RADII[norm] + 1e-6).all()
        assert ((points >= 0) & (points <= 1)).all()
        done = torch.full((40,), HALVINGS[stage] + 1)
        drawn = draw(range(40), (proposed.numbers,), stage + 1)
        moved = proposed.next_points(points, centres, drawn, done)
        side = window_side(norm, stage + 1)
        most = side * side * (1 if norm == "linf" else 2)
        if norm != "l1":  # there the projection may take a little from every pixel
            assert ((moved != points).any(1).flatten(1).sum(1) <= most).all()
        assert (moved != points).flatten(1).any(1).sum() > 20
        points = moved
    assert (distances_to_images(points, centres, norm=norm) <= RADII[norm] + 1e-6).all()


def window_side(norm: Norm, halvings: int) -> int:
    """The side of a window that covers `0.8 / 2**halvings` of 12 x 12 pixels; odd and 3 or more except in l_inf."""
    side = round(math.sqrt(0.8 / 2**halvings * 144))
    if norm == "linf":
        return max(side, 1)
    return max(side, 3) + (1 - max(side, 3) % 2)


def test_windows_shrink_at_the_proposals_of_the_paper() -> None:
    proposed = proposals("linf", shape=(1, 28, 28))
    centres = torch.full((1, 1, 28, 28), 0.5)
    sides = []
    for done in (0, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001):
        drawn = draw([0], (proposed.numbers,), done)
        moved = proposed.next_points(centres, centres, drawn, torch.tensor([done]))
        sides.append((moved != centres).sum().sqrt().item())

    # round(sqrt(0.8 / 2**k * 784)) for k = 0 to 7, by hand.
    assert [25, 25, 18, 18, 13, 13, 9, 9, 6, 6, 4, 4, 3, 3, 2] == sides


def test_bump_is_equation_4_of_the_paper() -> None:
    def rectangle(height: int, width: int) -> Tensor:
        middle = height // 2
        values = torch.zeros(height, width, dtype=torch.float64)
        for row in range(1, height + 1):
            for column in range(1, width + 1):
                rings = max(height, width) // 2
                away = max(abs(row - middle - 1), abs(column - width // 2 - 1))
                values[row - 1, column - 1] = sum(
                    1 / (rings + 1 - ring) ** 2 for ring in range(rings - away + 1)
                )
        length: Tensor = values.norm()
        return values / length

    expected = torch.cat([rectangle(3, 7), -rectangle(4, 7)])
    bump = double_bump(7, norm="l2")

    assert torch.allclose(expected / expected.norm(), bump, rtol=1e-14, atol=0)
    assert pytest.approx(1) == double_bump(7, norm="l1").abs().sum().item()


def test_step_in_l2_uses_the_whole_budget_where_the_box_is_far() -> None:
    proposed = Proposals(norm="l2", eps=0.05, shape=COLOUR, first_share=0.8, device=CPU)
    centres = torch.full((30, *COLOUR), 0.5)
    points = proposed.first_points(centres, draw(range(30), proposed.start_shape, 0))
    lengths = [distances_to_images(points, centres, norm="l2")]
    for step in range(1, 4):
        drawn = draw(range(30), (proposed.numbers,), step)
        points = proposed.next_points(points, centres, drawn, torch.full((30,), 60))
        lengths.append(distances_to_images(points, centres, norm="l2"))

    assert torch.allclose(torch.stack(lengths), torch.tensor(0.05).double(), rtol=1e-4)


def measured_by(
    model: nn.Module, test: ArraySamples, norm: Norm, eps: float, **options: int
) -> Measurement:
    evaluation = square(norm=norm, eps=eps, counts=True, **options)
    return evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())


def outcomes_of(measured: Measurement, eps: float) -> Tensor:
    return measured.outcomes[f"robust_accuracy@{eps:g}"]


@pytest.mark.parametrize("norm", NORMS)
def test_plane_is_never_left_less_robust_than_it_is(norm: Norm) -> None:
    eps = {"linf": 0.1, "l2": 0.5, "l1": 2.0}[norm]
    subject, exact = plane_subject(3, norm=norm, eps=eps)
    assert isinstance(subject.test, ArraySamples)
    measured = measured_by(subject.model, subject.test, norm, eps, queries=200)
    left = (outcomes_of(measured, eps) == Outcome.ROBUST).double().mean().item()

    clean = (measured.outcomes["clean_accuracy"] == Outcome.ROBUST).double().mean().item()
    assert exact <= left < clean


def test_mean_brightness_is_moved_as_far_as_the_ball_goes() -> None:
    class Brightness(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            lead = inputs.flatten(1).mean(1, keepdim=True) - 0.6
            return torch.cat([-lead, lead], 1)

    model = Brightness().eval()
    greys = torch.linspace(0.4, 0.595, 40)
    inputs = greys.view(-1, 1, 1, 1).expand(-1, *COLOUR).clone()
    card = DataCard(COLOUR, (0.0, 1.0), "classes", 2, ("dark", "light"), "")
    test = ArraySamples(card=card, inputs=inputs, labels=torch.zeros(40, dtype=torch.int64))
    measured = measured_by(model, test, "linf", 0.1, queries=1000)

    # A thousand squares leave at most a hundredth of the pixels on the wrong side.
    needed = (0.6 - greys) / 0.1
    broken = outcomes_of(measured, 0.1) == Outcome.BROKEN
    assert broken[needed < 0.98].all()
    assert not broken[needed > 1].any()


class Net(nn.Module):
    """A small fixed network of four classes, whose logits come in steps: its gradient is 0."""

    def __init__(self, *, stairs: float = 0.0) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(1)
        self.stairs = stairs
        self.first = torch.randn(16, 432, generator=source)
        self.second = torch.randn(4, 16, generator=source) / 4

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh((inputs.flatten(1) - 0.5) @ self.first.T / 20)
        logits = hidden @ self.second.T
        return logits if not self.stairs else (logits / self.stairs).round() * self.stairs


def random_test(model: nn.Module, count: int) -> ArraySamples:
    inputs = images(count)
    card = DataCard(COLOUR, (0.0, 1.0), "classes", 4, tuple("abcd"), "")
    return ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))


@pytest.mark.parametrize("norm", NORMS)
def test_sample_has_the_same_bits_in_any_batch_and_order(norm: Norm) -> None:
    model = Net().eval()
    inputs = images(90)
    labels = model(inputs).argmax(1)
    attack = SquareAttack(Square(kind="square", queries=60), norm=norm)
    fmodel = PyTorchModel(model, bounds=(0, 1))
    eps = RADII[norm] / 3
    whole = attack.attack_batch(fmodel, inputs, labels, eps=eps, draw=draw)
    some = torch.tensor([80, 3, 41, 66])

    def draw_some(numbers: Sequence[int], shape: Shape, step: int) -> Tensor:
        return draw(some[list(numbers)].tolist(), shape, step)

    alone = attack.attack_batch(fmodel, inputs[some], labels[some], eps=eps, draw=draw_some)

    assert 5 < whole.is_adversarial.sum() < 90
    assert torch.equal(whole.points[some], alone.points)
    assert torch.equal(whole.forward_counts[some], alone.forward_counts)
    assert (whole.forward_counts[~whole.is_adversarial] == 60).all()
    assert not whole.gradient_counts.any()
    assert (model(whole.points).argmax(1) != labels)[whole.is_adversarial].all()


def test_margin_of_the_best_point_never_falls_with_more_queries() -> None:
    model = Net().eval()
    inputs = images(40)
    labels = model(inputs).argmax(1)
    fmodel = PyTorchModel(model, bounds=(0, 1))
    margins = []
    for queries in (2, 10, 80):
        attack = SquareAttack(Square(kind="square", queries=queries), norm="l2")
        found = attack.attack_batch(fmodel, inputs, labels, eps=0.05, draw=draw)
        logits = model(found.points)
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        margins.append(others - logits.gather(1, labels[:, None])[:, 0])

    assert (margins[0] <= margins[1]).all()
    assert (margins[1] <= margins[2]).all()
    assert (margins[1] < margins[2]).sum() > 30


def test_model_without_gradient_is_broken_all_the_same() -> None:
    model = Net(stairs=0.01).eval()
    test = random_test(model, 64)
    measured = measured_by(model, test, "linf", 0.1, queries=200)

    assert (outcomes_of(measured, 0.1) == Outcome.BROKEN).double().mean() > 0.8


def test_restarts_and_seeds_draw_anew_and_larger_radii_break_more() -> None:
    model = Net().eval()
    test = random_test(model, 64)
    one = measured_by(model, test, "linf", 0.02, queries=5)
    other = measured_by(model, test, "linf", 0.02, queries=5, seed=1)
    both = measured_by(model, test, "linf", 0.02, queries=5, restarts=2)
    broken = [outcomes_of(measured, 0.02) == Outcome.BROKEN for measured in (one, other, both)]

    assert not torch.equal(one.samples["forwards"], other.samples["forwards"])
    assert (broken[0] <= broken[2]).all()
    assert broken[2].sum() > broken[0].sum()


def test_logits_that_are_not_finite_leave_the_sample_unfinished() -> None:
    class Broken(Net):
        def forward(self, inputs: Tensor) -> Tensor:
            logits = super().forward(inputs)
            # Any change of an image, and not the image itself, gives NaN.
            changed = (inputs.double() * 256 % 1 != 0).flatten(1).any(1, keepdim=True)
            return torch.where(changed, torch.nan, logits)

    model = Broken().eval()
    source = torch.Generator().manual_seed(0)
    inputs = torch.randint(257, (10, *COLOUR), generator=source) / 256
    card = DataCard(COLOUR, (0.0, 1.0), "classes", 4, tuple("abcd"), "")
    test = ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))
    measured = measured_by(model, test, "linf", 0.01, queries=5)

    assert (outcomes_of(measured, 0.01) == Outcome.UNKNOWN).all()
    assert (measured.samples["forwards"] >= 6).all()


def test_foolbox_calls_it_with_several_radii() -> None:
    model = Net().eval()
    inputs = images(20)
    labels = model(inputs).argmax(1)
    attack = SquareAttack(Square(kind="square", queries=60), norm="linf")
    raw, _, success = attack(
        PyTorchModel(model, bounds=(0, 1)), inputs, labels, epsilons=[0.01, 0.2]
    )

    assert (distances_to_images(raw[1], inputs, norm="linf") <= 0.2 + 1e-6).all()
    assert success[0].sum() < success[1].sum()
