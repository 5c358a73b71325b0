"""Models that are confident: factors of the logits change no class, and must hide no example."""

from __future__ import annotations

import functools

import pytest
import torch
from foolbox.types import Bounds
from sklearn.datasets import load_digits
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Outcome
from advtransfer_foolbox.attack_settings import Loss
from advtransfer_foolbox.components.gradient import basic_iterative, fgsm, pgd
from advtransfer_foolbox.gradient_attacks import loss_objective
from advtransfer_foolbox.gradient_steps import StepRule, step_direction

COUNT = 200
EPS: dict[Norm, float] = {"linf": 0.08, "l2": 0.45, "l1": 2.0}
FACTORS = (4, 12, 100)


class Scaled(nn.Module):
    """A network with its logits times a factor."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return self.factor * logits


@functools.cache
def natural_digits() -> tuple[nn.Module, ArraySamples]:
    """A small network trained on scikit-learn's digits without an adversary, and 200 others of them."""
    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    classes = torch.tensor(labels, dtype=torch.int64)

    def build() -> nn.Module:
        first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))

    network = build_initialized(build, stream_generator("confident"))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    train_inputs, train_classes = inputs[COUNT:], classes[COUNT:]
    for step in range(360):
        rows = torch.arange(step * 100, step * 100 + 100) % len(train_classes)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(train_inputs[rows]), train_classes[rows])
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        optimizer.step()
    card = DataCard((1, 8, 8), (0.0, 1.0), "classes", 10, tuple(map(str, range(10))), "")
    return network.eval(), ArraySamples(card=card, inputs=inputs[:COUNT], labels=classes[:COUNT])


def outcomes(evaluation: Evaluation, factor: float) -> Tensor:
    network, test = natural_digits()
    found = evaluation.measure(
        EvaluationInputs(test=test, model=Scaled(network, factor).eval()),
        context=InMemoryContext(),
    )
    (examples,) = found.examples
    return found.outcomes[examples.metric]


def share(found: Tensor) -> float:
    return (found == Outcome.ROBUST).double().mean().item()


def attack_of(kind: str, norm: Norm, loss: Loss) -> Evaluation:
    eps = EPS[norm]
    if kind == "fgsm":
        assert loss != "targeted_margin"
        return fgsm(norm=norm, eps=eps, loss=loss)
    build = pgd if kind == "pgd" else basic_iterative
    return build(norm=norm, eps=eps, steps=15, step_size=eps / 6, loss=loss)


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_outcomes_of_margin_attacks_do_not_depend_on_the_scale_of_the_logits(
    kind: str, norm: Norm
) -> None:
    attack = attack_of(kind, norm, "margin")
    plain = outcomes(attack, 1)

    assert 0.1 < share(plain) < 0.9
    for factor in FACTORS:
        assert plain.tolist() == outcomes(attack, factor).tolist()


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("kind", ["fgsm", "pgd", "basic_iterative"])
def test_cross_entropy_attacks_lose_at_most_2_points_to_confident_models(
    kind: str, norm: Norm
) -> None:
    attack = attack_of(kind, norm, "cross_entropy")
    plain = share(outcomes(attack, 1))

    assert 0.1 < plain < 0.9
    for factor in FACTORS if kind == "pgd" else FACTORS[-1:]:
        assert share(outcomes(attack, factor)) <= plain + 0.02


def test_cross_entropy_ascends_in_its_own_direction_without_underflow() -> None:
    labels = torch.tensor([2, 0])

    def direction(logits: Tensor, *, own: bool) -> Tensor:
        logits = logits.clone().requires_grad_()
        if own:
            total = loss_objective("cross_entropy")(logits, labels, None).sum()
        else:
            total = nn.functional.cross_entropy(logits, labels, reduction="sum")
        (gradients,) = torch.autograd.grad(total, logits)
        return nn.functional.normalize(gradients)

    modest = torch.tensor([[1.0, 4.0, 2.0], [5.0, 1.0, 0.0]], dtype=torch.float64)
    confident = torch.tensor([[0.0, -3.0, 300.0], [400.0, 1.0, 0.0]])

    torch.testing.assert_close(direction(modest, own=True), direction(modest, own=False))
    assert not direction(confident, own=False).any()
    assert torch.allclose(direction(confident, own=True).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("rule", ["l2", "l1", "sparse_l1"])
@pytest.mark.parametrize("size", [1e-40, 1e-30, 1.0, 1e30])
def test_a_step_has_length_1_however_small_or_large_the_gradient_is(
    rule: StepRule, size: float
) -> None:
    gradients = torch.tensor([[3.0, -4.0], [0.0, 2.0]]).reshape(2, 1, 1, 2)
    grey = torch.full_like(gradients, 0.5)
    expected = step_direction(rule, gradients, grey, Bounds(0, 1))
    order = 2 if rule == "l2" else 1

    found = step_direction(rule, size * gradients, grey, Bounds(0, 1))

    # Numbers as small as 1e-40 hold few digits.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    assert [1.0, 1.0] == pytest.approx(found.flatten(1).norm(p=order, dim=1).tolist(), rel=1e-3)


@pytest.mark.parametrize("rule", ["linf", "l2", "l1", "sparse_l1"])
def test_a_zero_gradient_stays_zero(rule: StepRule) -> None:
    grey = torch.full((1, 1, 2, 2), 0.5)

    assert not step_direction(rule, torch.zeros_like(grey), grey, Bounds(0, 1)).any()


def test_a_sparse_step_moves_the_largest_gradients_that_do_not_leave_the_box() -> None:
    gradients = torch.arange(1.0, 301.0).reshape(1, 3, 10, 10)
    points = torch.full_like(gradients, 0.5)
    points[0, 2, 9, 9] = 1.0

    moved = step_direction("sparse_l1", gradients, points, Bounds(0, 1)).flatten()

    # Of 300 values the quantile .99 is between the 3rd and the 4th largest.
    assert [296, 297, 298] == moved.nonzero().flatten().tolist()
    assert [pytest.approx(1 / 3)] * 3 == moved[296:299].tolist()
