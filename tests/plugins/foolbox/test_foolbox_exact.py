"""Attacks on linear models, where the oracle that the canaries ship with knows the outcome of every sample."""

from __future__ import annotations

from itertools import permutations
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.oracle import LinearClassifier, exact_robustness
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Measurement, Outcome
from advtransfer_foolbox.attack_settings import Loss
from advtransfer_foolbox.components.gradient import basic_iterative, clean_accuracy, fgsm, pgd

Case: TypeAlias = tuple[nn.Sequential, ArraySamples]

TWO: dict[Norm, list[float]] = {
    "linf": [0.03, 0.05, 0.07],
    "l2": [0.15, 0.25, 0.4],
    "l1": [0.4, 1.0],
}
DIGITS: dict[Norm, list[float]] = {"linf": [0.08, 0.13], "l2": [0.4, 0.65], "l1": [1.7]}
STEPS: dict[Norm, tuple[int, int]] = {"linf": (40, 8), "l2": (60, 8), "l1": (80, 20)}
"""How many steps, and how many of them make up the radius: in l_1 pixels are filled one after the other."""


def robust(case: Case, *, norm: Norm, eps: float) -> Tensor:
    """Which samples no point of the ball and the box takes to any other class, ``(N,)`` bool: class by class."""
    (_, layer), test = case
    assert isinstance(layer, nn.Linear)
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    inputs, labels = test.inputs(all_positions(test)), test.labels(all_positions(test))
    found = torch.ones(len(test), dtype=torch.bool)
    for own, other in permutations(range(layer.out_features), 2):
        rows = (labels == own).nonzero().flatten()
        plane = LinearClassifier(weight[other] - weight[own], bias[other] - bias[own])
        found[rows] &= exact_robustness(
            plane, inputs[rows], torch.zeros_like(rows), norm=norm, eps=eps
        )[0]
    return found


def measure(evaluation: Evaluation, case: Case) -> Measurement:
    return evaluation.measure(
        EvaluationInputs(test=case[1], model=case[0]), context=InMemoryContext()
    )


def attacked(
    kind: str, case: Case, *, norm: Norm, eps: float, loss: Loss = "cross_entropy"
) -> Tensor:
    """The outcomes under an attack of many steps, or of the one step."""
    if kind == "fgsm":
        return measure(fgsm(norm=norm, eps=eps), case).outcomes[f"accuracy@{eps:g}"]
    steps, parts = STEPS[norm]
    evaluation = basic_iterative(norm=norm, eps=eps, steps=steps, step_size=eps / parts, loss=loss)
    if kind == "pgd":
        # a random start of the l_1 ball moves every pixel, and more steps than these are needed to take that back
        start = norm != "l1"
        evaluation = pgd(
            norm=norm, eps=eps, steps=steps, step_size=eps / parts, loss=loss, random_start=start
        )
    return measure(evaluation, case).outcomes[f"robust_accuracy@{eps:g}"]


@pytest.mark.parametrize(
    ("kind", "norm"),
    [("fgsm", "linf"), ("pgd", "linf"), ("pgd", "l2"), ("pgd", "l1"), ("basic_iterative", "linf")],
)
def test_two_linear_classes_break_exactly_where_the_oracle_says(
    kind: str, norm: Norm, two_linear_classes: Case
) -> None:
    wrong = ~robust(two_linear_classes, norm=norm, eps=0)
    for eps in TWO[norm]:
        stands, barely = (
            robust(two_linear_classes, norm=norm, eps=eps * (1 + by)) for by in (-0.01, 0.01)
        )
        expected = torch.where(stands, int(Outcome.ROBUST), int(Outcome.BROKEN)).masked_fill(
            wrong, int(Outcome.WRONG)
        )
        clear = stands == barely
        found = attacked(kind, two_linear_classes, norm=norm, eps=eps)

        assert 0.2 < stands.double().mean() < 0.8
        assert clear.double().mean() > 0.95
        assert expected[clear].tolist() == found[clear].tolist()


def test_from_a_random_start_of_the_l1_ball_all_that_breaks_without_one_breaks_and_none_is_unknown() -> (
    None
):
    source = torch.Generator().manual_seed(1)
    layer = nn.Linear(784, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=source))
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    model = nn.Sequential(nn.Flatten(), layer).eval()
    inputs = 0.3 + 0.4 * torch.rand((128, 1, 28, 28), generator=source)
    card = DataCard((1, 28, 28), (0.0, 1.0), "classes", 2, ("below", "above"), "")
    case = (model, ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1)))
    alone, started = (
        measure(pgd(norm="l1", eps=0.8, steps=40, step_size=0.1, random_start=start), case)
        for start in (False, True)
    )
    found = started.outcomes["robust_accuracy@0.8"]

    assert 30 < (alone.outcomes["robust_accuracy@0.8"] == Outcome.BROKEN).sum() < 100
    assert alone.outcomes["robust_accuracy@0.8"].tolist() == found.tolist()
    assert {Outcome.ROBUST} == set(found[robust(case, norm="l1", eps=0.8 * (1 + 1e-4))].tolist())


def test_a_step_along_the_gradient_is_exact_in_the_l2_ball_where_the_box_is_out_of_reach(
    two_linear_classes: Case,
) -> None:
    model, test = two_linear_classes
    grey = 0.3 + 0.4 * test.inputs(all_positions(test))
    case = (model, ArraySamples(card=test.card, inputs=grey, labels=model(grey).argmax(1)))
    stands, barely = (robust(case, norm="l2", eps=eps) for eps in (0.099, 0.101))
    found = attacked("fgsm", case, norm="l2", eps=0.1) == Outcome.ROBUST

    assert 0.2 < stands.double().mean() < 0.8
    assert stands[stands == barely].tolist() == found[stands == barely].tolist()


@pytest.fixture(scope="module")
def some_digits(linear_digits: Case) -> Case:
    """As many digits as make whole batches of a kernel."""
    model, test = linear_digits
    rows = all_positions(test)[: 2 * KERNEL_BATCH]
    return model, ArraySamples(card=test.card, inputs=test.inputs(rows), labels=test.labels(rows))


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "targeted_margin"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_digits_no_loss_goes_below_the_exact_value_and_the_targeted_margin_comes_within_1_point(
    norm: Norm, loss: Loss, some_digits: Case
) -> None:
    for eps in DIGITS[norm]:
        true = robust(some_digits, norm=norm, eps=eps).double().mean().item()
        found = attacked("pgd", some_digits, norm=norm, eps=eps, loss=loss)

        assert 0.2 < true < 0.8
        assert {Outcome.ROBUST} == set(
            found[robust(some_digits, norm=norm, eps=eps * (1 + 1e-4))].tolist()
        )
        if loss == "targeted_margin":
            assert true == pytest.approx((found == Outcome.ROBUST).double().mean().item(), abs=0.01)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_single_step_breaks_some_digits_and_none_that_the_oracle_proves_robust(
    norm: Norm, linear_digits: Case
) -> None:
    eps = DIGITS[norm][-1]
    found = attacked("fgsm", linear_digits, norm=norm, eps=eps)

    assert {Outcome.ROBUST} == set(
        found[robust(linear_digits, norm=norm, eps=eps * (1 + 1e-4))].tolist()
    )
    assert (found == Outcome.BROKEN).sum() > 5


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_eps_0_is_clean_accuracy(kind: str, two_linear_classes: Case) -> None:
    clean = measure(clean_accuracy(), two_linear_classes).outcomes["accuracy"]
    evaluation = (
        fgsm(norm="linf", eps=0)
        if kind == "fgsm"
        else pgd(norm="l2", eps=0, steps=3, step_size=0.1)
    )
    found = measure(evaluation, two_linear_classes).outcomes
    (metric,) = (name for name in found if name.endswith("accuracy@0"))

    assert [Outcome.WRONG] + [Outcome.ROBUST] * 9 == clean.tolist()[:10]
    assert clean.tolist() == found[metric].tolist()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 1.0), ("l2", 8.0)])
def test_a_huge_eps_breaks_everything(norm: Norm, eps: float, linear_digits: Case) -> None:
    found = attacked("pgd", linear_digits, norm=norm, eps=eps)

    assert {Outcome.BROKEN, Outcome.WRONG} == set(found.tolist())


def test_the_examples_are_those_of_the_broken_samples_and_break_them(linear_digits: Case) -> None:
    model, test = linear_digits
    measured = measure(pgd(norm="linf", eps=(0.02, 0.1), steps=10, step_size=0.025), linear_digits)

    assert {"clean_accuracy", "robust_accuracy@0.02", "robust_accuracy@0.1"} == set(
        measured.outcomes
    )
    assert ["robust_accuracy@0.02", "robust_accuracy@0.1"] == [
        one.metric for one in measured.examples
    ]
    for examples in measured.examples:
        broken = (measured.outcomes[examples.metric] == Outcome.BROKEN).nonzero().flatten()
        moved = examples.inputs - test.inputs(examples.positions)
        assert broken.tolist() == examples.positions.tolist()
        assert (model(examples.inputs).argmax(1) != test.labels(examples.positions)).all()
        assert moved.abs().max() <= examples.eps + 1e-6
        assert (examples.inputs.amin() >= 0) & (examples.inputs.amax() <= 1)
