"""Attacks on linear models, where the outcome of every sample is known in closed form."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.samples import Arrays
from advtransfer.types import DataCard, Evaluation, Given, Outcome
from advtransfer_foolbox.factories.gradients import clean_accuracy, fgsm, pgd

SHAPE = (1, 4, 4)
COUNT = 150


def linear(classes: int, *, seed: int) -> nn.Sequential:
    layer = nn.Linear(16, classes)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, 16, generator=source))
        layer.bias.copy_(-0.5 * layer.weight.sum(1))
    return nn.Sequential(nn.Flatten(), layer).eval()


def images(*, low: float, high: float, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand((COUNT, *SHAPE), generator=source)


def labelled(model: nn.Module, inputs: Tensor, classes: int) -> Arrays:
    """The model's own classes, every tenth one made wrong."""
    labels = model(inputs).argmax(1)
    labels[::10] = (labels[::10] + 1) % classes
    card = DataCard(SHAPE, (0.0, 1.0), "classes", classes, tuple(map(str, range(classes))), "")
    return Arrays(card=card, inputs=inputs, labels=labels)


def slack(model: nn.Sequential, test: Arrays, *, norm: str, eps: float) -> Tensor:
    """The smallest margin over classes that any point of the ball has, ``(N,)``: below 0, the ball holds an example.

    For l_inf each pixel moves as far as the ball and the box allow; for l_2 the box must be out of reach.
    """
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    every = torch.arange(len(test))
    pixels, labels = test.inputs(every).flatten(1).double(), test.labels(every)
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    margins = []
    for other in range(layer.out_features):
        along = weight[labels] - weight[other]
        margin = (along * pixels).sum(1) + bias[labels] - bias[other]
        room = torch.where(along > 0, pixels, 1 - pixels).clamp(max=eps)
        loss = (along.abs() * room).sum(1) if norm == "linf" else eps * along.norm(dim=1)
        margins.append((margin - loss).masked_fill(labels == other, torch.inf))
    return torch.stack(margins).amin(0)


def outcomes(evaluation: Evaluation, model: nn.Module, test: Arrays, metric: str) -> Tensor:
    return evaluation.measure(Given(test=test, model=model), context=InMemoryContext()).outcomes[metric]


def attack(kind: str, norm: Literal["linf", "l2"], eps: float) -> tuple[Evaluation, str]:
    if kind == "fgsm":
        return fgsm(norm=norm, eps=eps), f"accuracy@{eps:g}"
    return pgd(norm=norm, eps=eps, steps=60, step_size=eps / 10), f"robust_accuracy@{eps:g}"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("eps", [0.03, 0.1])
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_two_linear_classes_break_in_the_linf_ball_and_box_exactly_where_the_closed_form_says(
    kind: str, eps: float, seed: int
) -> None:
    model = linear(2, seed=seed)
    test = labelled(model, images(low=0, high=1, seed=seed), 2)
    exact = slack(model, test, norm="linf", eps=eps)
    clear = exact.abs() > 1e-4
    wrong = slack(model, test, norm="linf", eps=0) < 0
    expected = torch.where(exact < 0, int(Outcome.BROKEN), int(Outcome.ROBUST)).masked_fill(wrong, int(Outcome.WRONG))
    evaluation, metric = attack(kind, "linf", eps)

    assert clear.sum() > COUNT - 5
    assert len(set(expected.tolist())) == 3
    assert expected[clear].tolist() == outcomes(evaluation, model, test, metric)[clear].tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("eps", [0.05, 0.15])
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_two_linear_classes_break_in_the_l2_ball_exactly_where_the_closed_form_says(
    kind: str, eps: float, seed: int
) -> None:
    model = linear(2, seed=seed)
    test = labelled(model, images(low=0.3, high=0.7, seed=seed), 2)
    exact = slack(model, test, norm="l2", eps=eps)
    clear = exact.abs() > 2e-3
    wrong = slack(model, test, norm="l2", eps=0) < 0
    expected = torch.where(exact < 0, int(Outcome.BROKEN), int(Outcome.ROBUST)).masked_fill(wrong, int(Outcome.WRONG))
    evaluation, metric = attack(kind, "l2", eps)

    assert clear.sum() > COUNT - 5
    assert len(set(expected.tolist())) == 3
    assert expected[clear].tolist() == outcomes(evaluation, model, test, metric)[clear].tolist()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_ten_linear_classes_are_never_broken_where_the_closed_form_proves_them_robust(
    kind: str, norm: Literal["linf", "l2"]
) -> None:
    model = linear(10, seed=0)
    test = labelled(model, images(low=0.3, high=0.7, seed=0), 10)
    eps = 0.03 if norm == "linf" else 0.1
    proven = slack(model, test, norm=norm, eps=eps) > 1e-4
    evaluation, metric = attack(kind, norm, eps)
    found = outcomes(evaluation, model, test, metric)

    assert {Outcome.ROBUST} == set(found[proven].tolist())
    assert (found == Outcome.BROKEN).sum() > 0


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_eps_0_is_clean_accuracy(kind: str) -> None:
    model = linear(3, seed=1)
    test = labelled(model, images(low=0, high=1, seed=1), 3)
    evaluation, metric = fgsm(norm="linf", eps=0), "accuracy@0"
    if kind == "pgd":
        evaluation, metric = pgd(norm="l2", eps=0, steps=3, step_size=0.1), "robust_accuracy@0"
    clean = outcomes(clean_accuracy(), model, test, "accuracy")

    assert (
        torch.where(torch.arange(COUNT) % 10 == 0, int(Outcome.WRONG), int(Outcome.ROBUST)).tolist() == clean.tolist()
    )
    assert clean.tolist() == outcomes(evaluation, model, test, metric).tolist()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 1.0), ("l2", 4.0)])
def test_a_huge_eps_breaks_everything(norm: Literal["linf", "l2"], eps: float) -> None:
    model = linear(3, seed=2)
    test = labelled(model, images(low=0, high=1, seed=2), 3)
    found = outcomes(pgd(norm=norm, eps=eps, steps=40, step_size=eps / 10), model, test, f"robust_accuracy@{eps:g}")

    assert {Outcome.BROKEN, Outcome.WRONG} == set(found.tolist())


def test_the_examples_are_those_of_the_broken_samples_and_break_them() -> None:
    model = linear(3, seed=3)
    test = labelled(model, images(low=0, high=1, seed=3), 3)
    evaluation = pgd(norm="linf", eps=(0.02, 0.1), steps=10, step_size=0.025)
    measured = evaluation.measure(Given(test=test, model=model), context=InMemoryContext())

    assert {"clean_accuracy", "robust_accuracy@0.02", "robust_accuracy@0.1"} == set(measured.outcomes)
    assert ["robust_accuracy@0.02", "robust_accuracy@0.1"] == [one.metric for one in measured.examples]
    for examples in measured.examples:
        broken = (measured.outcomes[examples.metric] == Outcome.BROKEN).nonzero().flatten()
        moved = examples.inputs - test.inputs(examples.positions)
        assert broken.tolist() == examples.positions.tolist()
        assert (model(examples.inputs).argmax(1) != test.labels(examples.positions)).all()
        assert moved.abs().max() <= examples.eps + 1e-6
        assert (examples.inputs.amin() >= 0) & (examples.inputs.amax() <= 1)
