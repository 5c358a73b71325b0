"""Attacks beside the exact answer: the nearest example of a linear model, box included, is found in closed form."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.samples import Arrays
from advtransfer.types import DataCard, Evaluation, Given, Measurement, Outcome
from advtransfer_foolbox.factories.gradients import basic_iterative, fgsm, pgd
from advtransfer_foolbox.factories.minimal import boundary, carlini_wagner, deepfool
from advtransfer_foolbox.settings import Loss, Norm

COUNT = 200


def linear(weight: Tensor, bias: Tensor) -> nn.Sequential:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return nn.Sequential(nn.Flatten(), layer).eval()


def samples(inputs: Tensor, labels: Tensor, classes: int) -> Arrays:
    card = DataCard((1, 8, 8), (0.0, 1.0), "classes", classes, tuple(map(str, range(classes))), "")
    return Arrays(card=card, inputs=inputs, labels=labels)


@cache
def two_classes() -> tuple[nn.Sequential, Arrays]:
    """A random direction whose weights come in ties, and images of which a fifth of the pixels lie on the box."""
    source = torch.Generator().manual_seed(0)
    along = torch.randn(64, generator=source).mul(3).round().div(3)
    model = linear(torch.stack([-along, along]), torch.stack([along.sum() / 2, -along.sum() / 2]))
    inputs = (1.4 * torch.rand((COUNT, 1, 8, 8), generator=source) - 0.2).clamp(0, 1)
    return model, samples(inputs, model(inputs).argmax(1), 2)


@cache
def digits() -> tuple[nn.Sequential, Arrays]:
    pixels, labels = load_digits(return_X_y=True)
    found = LogisticRegression(max_iter=2000).fit(pixels[COUNT:] / 16, labels[COUNT:])
    model = linear(torch.tensor(found.coef_), torch.tensor(found.intercept_))
    inputs = torch.tensor(pixels[:COUNT] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return model, samples(inputs, torch.tensor(labels[:COUNT], dtype=torch.int64), 10)


def exact(model: nn.Sequential, test: Arrays, norm: Norm) -> Tensor:
    """The distance of each sample's nearest example in the box, ``(N,)`` float64; 0 for a wrong one."""
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    every = torch.arange(len(test))
    pixels, labels = test.inputs(every).flatten(1).double(), test.labels(every)
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    nearest = torch.full((len(test),), math.inf, dtype=torch.float64)
    for other in range(layer.out_features):
        along = weight[other] - weight[labels]
        needed = -((along * pixels).sum(1) + bias[other] - bias[labels])
        room = torch.where(along > 0, 1 - pixels, pixels)
        found = smallest(along.abs(), room, needed.clamp_min(0), norm)
        nearest = torch.minimum(nearest, found.masked_fill(labels == other, math.inf))
    return nearest


def smallest(gain: Tensor, room: Tensor, needed: Tensor, norm: Norm) -> Tensor:
    """The least size of a move of at most `room` ``(N, D)`` that gains what is needed ``(N,)``; infinite if none does.

    In l_inf all pixels move alike, in l_2 in proportion to their gain, in l_1 one after the other, best first: each
    move grows with one number, which is found by bisection.
    """
    low, high = torch.zeros_like(needed), torch.full_like(needed, 1e4)
    order = gain.argsort(dim=1, descending=True)
    before = torch.zeros_like(room).scatter(1, order, room.gather(1, order).cumsum(1) - room.gather(1, order))

    def move(number: Tensor) -> Tensor:
        wish = {"linf": number[:, None], "l2": number[:, None] * gain, "l1": (number[:, None] - before).clamp_min(0)}
        return torch.minimum(wish[norm], room)

    for _ in range(80):
        middle = (low + high) / 2
        enough = (gain * move(middle)).sum(1) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    sizes: Tensor = torch.linalg.vector_norm(move(high), ord={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
    return sizes.masked_fill((gain * room).sum(1) < needed, math.inf)


def measure(evaluation: Evaluation, case: tuple[nn.Sequential, Arrays]) -> Measurement:
    return evaluation.measure(Given(test=case[1], model=case[0]), context=InMemoryContext())


def share(outcomes: Tensor) -> float:
    return (outcomes == Outcome.ROBUST).double().mean().item()


TWO: dict[Norm, list[float]] = {"linf": [0.03, 0.05, 0.07], "l2": [0.15, 0.25, 0.4], "l1": [0.4, 1.0]}
DIGITS: dict[Norm, list[float]] = {"linf": [0.08, 0.13], "l2": [0.4, 0.65], "l1": [1.7]}
STEPS: dict[Norm, tuple[int, int]] = {"linf": (40, 8), "l2": (60, 8), "l1": (80, 20)}
"""How many steps, and how many of them make up the radius: in l_1 pixels are filled one after the other."""


def descent(kind: str, norm: Norm, eps: float, loss: Loss = "cross_entropy") -> tuple[Evaluation, str]:
    if kind == "fgsm":
        return fgsm(norm="linf", eps=eps), f"accuracy@{eps:g}"
    steps, parts = STEPS[norm]
    if kind == "basic_iterative":
        return basic_iterative(norm=norm, eps=eps, steps=steps, step_size=eps / parts), f"robust_accuracy@{eps:g}"
    evaluation = pgd(norm=norm, eps=eps, steps=steps, step_size=eps / parts, loss=loss, random_start=norm != "l1")
    return evaluation, f"robust_accuracy@{eps:g}"


@pytest.mark.parametrize(
    ("kind", "norm"),
    [("fgsm", "linf"), ("pgd", "linf"), ("pgd", "l2"), ("pgd", "l1"), ("basic_iterative", "linf")],
)
def test_two_linear_classes_break_exactly_where_the_nearest_example_is_within_eps(kind: str, norm: Norm) -> None:
    case = two_classes()
    nearest = exact(*case, norm)
    for eps in TWO[norm]:
        evaluation, metric = descent(kind, norm, eps)
        found = measure(evaluation, case).outcomes[metric]
        clear = (nearest - eps).abs() > 0.01 * eps

        assert 0.2 < (nearest > eps).double().mean() < 0.8
        assert (nearest <= eps)[clear].tolist() == (found == Outcome.BROKEN)[clear].tolist()


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "targeted_margin"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_digits_no_loss_goes_below_the_exact_value_and_the_targeted_margin_comes_within_1_point(
    norm: Norm, loss: Loss
) -> None:
    case = digits()
    nearest = exact(*case, norm)
    for eps in DIGITS[norm]:
        evaluation, metric = descent("pgd", norm, eps, loss)
        found = measure(evaluation, case).outcomes[metric]
        true = (nearest > eps).double().mean().item()

        assert 0.2 < true < 0.8
        assert {Outcome.ROBUST} == set(found[nearest > eps * (1 + 1e-4)].tolist())
        if loss == "targeted_margin":
            assert true == pytest.approx(share(found), abs=0.01)


@pytest.mark.parametrize(
    ("evaluation", "norm", "most"),
    [
        (deepfool(norm="linf", eps=0.1), "linf", 0.05),
        (deepfool(norm="l2", eps=0.5), "l2", 0.3),
        (carlini_wagner(eps=0.5, steps=40, step_size=0.05, binary_search_steps=4, initial_const=0.1), "l2", 0.5),
        (boundary(eps=0.5, steps=400), "l2", 6),
    ],
    ids=["deepfool linf", "deepfool l2", "carlini_wagner", "boundary"],
)
def test_no_attack_finds_an_example_nearer_than_the_nearest_and_half_of_them_come_close(
    evaluation: Evaluation, norm: Norm, most: float
) -> None:
    case = digits()
    nearest = exact(*case, norm)
    found = measure(evaluation, case)
    distance, right = found.samples["distance"], nearest > 1e-9
    over = distance[right] / nearest[right] - 1

    assert right.tolist() == (distance > 0).tolist()
    assert over.min() > -1e-4
    assert over.median() < most
    assert distance[right].median().item() == pytest.approx(found.metrics["median_distance"])
