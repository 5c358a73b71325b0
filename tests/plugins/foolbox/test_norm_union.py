"""Accuracy on a union of balls is exact on a linear model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.precheck import CellOutline, Misfit
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import DataCard, EvaluationInputs, Measurement, Outcome
from advtransfer_foolbox.attack_settings import EpsMultiple, Pgd
from advtransfer_foolbox.components.unions import norm_union
from advtransfer_foolbox.norm_union import worst_of

R, B, W, U = map(int, (Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG, Outcome.UNKNOWN))
RADII = {"linf": 0.03, "l2": 0.09}
PIXELS = 16
DUAL = {"linf": 1, "l2": 2}
ATTACK = Pgd(
    kind="pgd",
    steps=2,
    step_size=EpsMultiple(times_eps=1.0),
    random_start=False,
    loss="targeted_margin",
)


def planes() -> Tensor:
    """Weights of two other classes: all pixels alike, which l_inf reaches first, and one pixel, for l_2."""
    dense = torch.full((PIXELS,), 0.25)
    sparse = torch.zeros(PIXELS)
    sparse[0] = 1.0
    return torch.stack([dense, sparse])


@pytest.fixture(scope="module")
def linear() -> tuple[nn.Module, ArraySamples, Tensor]:
    """A linear model of 3 classes, images far from the box, and their margins to classes 1 and 2."""
    weights = planes()
    generator = torch.Generator().manual_seed(0)
    inputs = 0.5 + 0.15 * (2 * torch.rand((300, PIXELS), generator=generator) - 1)
    layer = nn.Linear(PIXELS, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.cat([torch.zeros(1, PIXELS), weights]))
        layer.bias.copy_(torch.tensor([0.0, -0.5 * 4 - 0.07, -0.5 - 0.1]))
    margins = -(inputs @ weights.T + layer.bias[1:].detach())
    near = torch.zeros(300, dtype=torch.bool)
    for norm, eps in RADII.items():
        distances = margins / weights.norm(p=DUAL[norm], dim=1)
        near |= ((distances - eps).abs() < 1e-3 * eps).any(1)
    inputs, margins = inputs[~near], margins[~near]
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", 3, ("a", "b", "c"), "")
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    test = ArraySamples(card=card, inputs=inputs.reshape(-1, 1, 4, 4), labels=labels)
    return nn.Sequential(nn.Flatten(), layer).eval(), test, margins


def measure(linear: tuple[nn.Module, ArraySamples, Tensor]) -> Measurement:
    model, test, _ = linear
    evaluation = norm_union(linf=RADII["linf"], l2=RADII["l2"], attacks=(ATTACK,))
    return evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())


def test_union_of_a_linear_model_is_exact(linear: tuple[nn.Module, ArraySamples, Tensor]) -> None:
    """An image is broken in a ball if eps times the dual norm of a plane exceeds its margin."""
    measured = measure(linear)
    margins = linear[2]
    is_wrong = (margins < 0).any(1)
    expected = {}
    for norm, eps in RADII.items():
        reach = eps * planes().norm(p=DUAL[norm], dim=1)
        expected[norm] = (margins < reach).any(1) & ~is_wrong
        outcomes = measured.outcomes[f"robust_accuracy_{norm}@{eps:g}"]
        assert torch.equal(outcomes == B, expected[norm])
        assert torch.equal(outcomes == W, is_wrong)
    # Each norm breaks images that the other does not.
    assert (expected["linf"] & ~expected["l2"]).any()
    assert (expected["l2"] & ~expected["linf"]).any()
    union = measured.outcomes["union_accuracy"]
    assert torch.equal(union == B, expected["linf"] | expected["l2"])
    assert torch.equal(union == W, is_wrong)


def test_each_ball_is_proven_by_examples_of_its_own(
    linear: tuple[nn.Module, ArraySamples, Tensor],
) -> None:
    measured = measure(linear)
    balls = {(each.metric, each.norm, each.eps) for each in measured.examples}

    assert balls == {(f"robust_accuracy_{norm}@{eps:g}", norm, eps) for norm, eps in RADII.items()}


def test_worst_of_outcomes_is_wrong_then_broken_then_unknown() -> None:
    first = torch.tensor([R, R, U, W, U], dtype=torch.uint8)
    second = torch.tensor([R, B, B, B, R], dtype=torch.uint8)

    assert worst_of([first, second]).tolist() == [R, B, B, W, U]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"linf": 0.1}, "at least two norms"),
        ({"linf": 0.1, "l2": 0.1}, "differ in six digits"),
        (
            {"linf": 0.1, "l2": 0.5, "attacks": (ATTACK, Pgd(kind="pgd", steps=2, step_size=0.1))},
            "times_eps",
        ),
    ],
)
def test_options_that_cannot_work_are_misfits(options: dict[str, object], expected: str) -> None:
    check: Callable[..., object] = norm_union.__precheck__.check  # type: ignore[attr-defined]  # as in `precheck`
    chosen = {"linf": None, "l2": None, "l1": None, "attacks": (), **options}
    (misfit,) = cast(Iterable[Misfit], check(chosen, CellOutline()))

    assert expected in misfit.expected


def test_autoattack_is_the_default_and_names_its_metrics() -> None:
    metrics = norm_union.__precheck__.metrics  # type: ignore[attr-defined]  # as in `precheck`

    assert metrics({"linf": 0.1, "l2": None, "l1": 12.0, "attacks": ()}) == [
        "robust_accuracy_linf@0.1",
        "robust_accuracy_l1@12",
        "union_accuracy",
        "clean_accuracy",
    ]
