"""AutoAttack: which attacks its versions are made of, their prices, and any number of classes."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.options import Options
from advtransfer.precheck import CellOutline, Outline, precheck_of
from advtransfer.testing.canaries.oracle import LinearClassifier, exact_robustness
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Json, Measurement, Outcome
from advtransfer_foolbox.attack_settings import Apgd, ApgdLoss, Fab, Square, autoattack_members
from advtransfer_foolbox.components.autoattack import autoattack
from advtransfer_foolbox.components.ensembles import ensemble

TARGETED: ApgdLoss = "targeted_dlr"


def measure(evaluation: Evaluation, model: nn.Module, test: ArraySamples) -> Measurement:
    return evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())


def first_classes(
    linear_digits: tuple[nn.Sequential, ArraySamples], classes: int
) -> tuple[nn.Sequential, ArraySamples]:
    """The linear model and the digits of the first classes."""
    (_, layer), digits = linear_digits
    assert isinstance(layer, nn.Linear)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).eval()
    model.load_state_dict(
        {"1.weight": layer.weight[:classes].detach(), "1.bias": layer.bias[:classes].detach()}
    )
    names = tuple(map(str, range(classes)))
    card = DataCard((1, 8, 8), (0.0, 1.0), "classes", classes, names, "")
    labels = digits.labels(all_positions(digits))
    rows = (labels < classes).nonzero().flatten()
    return model, ArraySamples(card=card, inputs=digits.inputs(rows), labels=labels[rows])


def oracle(model: nn.Sequential, test: ArraySamples, *, norm: Norm, eps: float) -> Tensor:
    """Which samples no point of ball and box takes to any other class, ``(N,)`` bool."""
    state = {name: value.double() for name, value in model.state_dict().items()}
    weight, bias = state["1.weight"], state["1.bias"]
    inputs, labels = test.inputs(all_positions(test)), test.labels(all_positions(test))
    robust = torch.ones(len(test), dtype=torch.bool)
    for own, other in permutations(range(len(bias)), 2):
        rows = (labels == own).nonzero().flatten()
        plane = LinearClassifier(weight[other] - weight[own], bias[other] - bias[own])
        zeros = torch.zeros_like(rows)
        robust[rows] &= exact_robustness(plane, inputs[rows], zeros, norm=norm, eps=eps)[0]
    return robust


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, ArraySamples]:
    """A small network of random weights with five classes, and random images with its classes."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 5))

    model = build_initialized(build, stream_generator("autoattack")).eval()
    card = DataCard((1, 6, 6), (0.0, 1.0), "classes", 5, tuple("abcde"), "")
    inputs = torch.rand((150, 1, 6, 6), generator=stream_generator("autoattack images"))
    return model, ArraySamples(card=card, inputs=inputs, labels=model(inputs).argmax(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_standard_version_is_that_of_the_original(norm: Norm) -> None:
    assert autoattack_members(norm, "standard", None, None) == (
        Apgd(kind="apgd", steps=100, restarts=1, loss="cross_entropy"),
        Apgd(kind="apgd", steps=100, restarts=1, loss=TARGETED, targets=9),
        Fab(kind="fab", steps=100, targets=9),
        Square(kind="square", queries=5000, p_init=0.8),
    )


def test_the_standard_version_in_l1_is_that_of_the_original() -> None:
    """Five restarts on cross-entropy, and five target classes (Croce and Hein, 2021)."""
    assert autoattack_members("l1", "standard", None, None) == (
        Apgd(kind="apgd", steps=100, restarts=5, loss="cross_entropy"),
        Apgd(kind="apgd", steps=100, restarts=1, loss=TARGETED, targets=5),
        Fab(kind="fab", steps=100, targets=9),
        Square(kind="square", queries=5000, p_init=0.8),
    )


def test_the_fast_version_has_the_steps_and_targets_of_its_options() -> None:
    by_default = autoattack_members("linf", "fast", None, None)
    assert by_default == autoattack_members("linf", "fast", 100, 3)

    assert autoattack_members("l2", "fast", 20, 5) == (
        Apgd(kind="apgd", steps=20, loss="cross_entropy"),
        Apgd(kind="apgd", steps=20, loss=TARGETED, targets=5, target_order="distance"),
    )


@pytest.mark.parametrize("name", ["steps", "targets"])
def test_the_standard_version_takes_no_steps_and_no_targets(name: str) -> None:
    outline = Outline(shape=(1, 6, 6), bounds=(0.0, 1.0), task="classes", outputs=5)
    given: dict[str, Json] = {"norm": "linf", "eps": 0.1, "version": "standard", name: 3}
    options, faults = Options.from_factory(autoattack).validate(given)
    assert [] == faults

    check = precheck_of(autoattack).check
    assert check is not None
    (misfit,) = check(options, CellOutline(target=outline))

    assert (name,) == misfit.path
    assert "none unless version is fast" == misfit.expected
    with pytest.raises(ValueError, match=f"{name}: none unless version is fast, not 3"):
        autoattack_members(
            "linf",
            "standard",
            steps=3 if name == "steps" else None,
            targets=3 if name == "targets" else None,
        )


@pytest.mark.parametrize("eps", [0.05, (0.1, 0.02)])
def test_the_metrics_are_those_that_are_announced(
    network: tuple[nn.Module, ArraySamples], eps: float | tuple[float, ...]
) -> None:
    chosen = {
        "norm": "linf",
        "eps": eps,
        "version": "fast",
        "steps": 3,
        "targets": None,
        "counts": True,
    }
    announced = precheck_of(autoattack).metrics
    assert announced is not None

    found = measure(
        autoattack(norm="linf", eps=eps, version="fast", steps=3, counts=True), *network
    )

    assert {*announced(chosen)} == {*found.outcomes, *found.metrics}


def test_the_fast_version_is_the_ensemble_of_its_attacks(
    network: tuple[nn.Module, ArraySamples],
) -> None:
    members = (
        Apgd(kind="apgd", steps=8),
        Apgd(kind="apgd", steps=8, loss=TARGETED, targets=3, target_order="distance"),
    )

    fast = measure(autoattack(norm="l2", eps=0.3, version="fast", steps=8), *network)
    both = measure(ensemble(norm="l2", eps=0.3, attacks=members), *network)
    first = measure(ensemble(norm="l2", eps=0.3, attacks=members[:1]), *network)

    name = "robust_accuracy@0.3"
    assert torch.equal(both.outcomes[name], fast.outcomes[name])
    assert torch.equal(both.examples[0].inputs, fast.examples[0].inputs)
    is_broken = [each.outcomes[name] == Outcome.BROKEN for each in (first, fast)]
    assert not (is_broken[0] & ~is_broken[1]).any()
    assert 10 < int(is_broken[1].sum()) < 140


def test_a_sample_is_attacked_until_it_is_broken(network: tuple[nn.Module, ArraySamples]) -> None:
    """In a wide ball the first ascent breaks all; in a narrow one every attack takes all its steps."""
    prices = {
        eps: measure(
            autoattack(norm="linf", eps=eps, version="fast", steps=10, counts=True), *network
        ).samples["gradients"]
        for eps in (0.0001, 0.5)
    }

    # Eleven points for each of 1 + 3 ascents, and a gradient for each of the four other classes.
    assert {11 + 3 * 11 + 4} == {*prices[0.0001].tolist()}
    assert prices[0.5].max() <= 5


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.8)])
def test_the_fast_version_is_exact_on_few_linear_classes(
    linear_digits: tuple[nn.Sequential, ArraySamples], classes: int, norm: Norm, eps: float
) -> None:
    model, test = first_classes(linear_digits, classes)
    evaluation = autoattack(norm=norm, eps=eps, version="fast", targets=4)

    found = measure(evaluation, model, test)

    robust = found.outcomes[f"robust_accuracy@{eps:g}"] == Outcome.ROBUST
    correct = found.outcomes["clean_accuracy"] == Outcome.ROBUST
    assert not (correct & oracle(model, test, norm=norm, eps=eps) & ~robust).any()
    # Whatever is nearer than 99 % of the radius is found.
    assert not (robust & ~oracle(model, test, norm=norm, eps=0.99 * eps)).any()
    assert 3 < int(robust.sum()) < int(correct.sum()) - 3
    # The record says which loss the margin replaced.
    names = [] if classes > 3 else [TARGETED]
    assert names == [check.name for check in found.checks]


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.8), ("l1", 3.0)])
def test_the_standard_version_is_exact_on_few_linear_classes(
    linear_digits: tuple[nn.Sequential, ArraySamples], classes: int, norm: Norm, eps: float
) -> None:
    model, test = first_classes(linear_digits, classes)

    found = measure(autoattack(norm=norm, eps=eps, version="standard"), model, test)

    robust = found.outcomes[f"robust_accuracy@{eps:g}"] == Outcome.ROBUST
    correct = found.outcomes["clean_accuracy"] == Outcome.ROBUST
    assert not (correct & oracle(model, test, norm=norm, eps=eps) & ~robust).any()
    # Whatever is nearer than 99 % of the radius is found.
    assert not (robust & ~oracle(model, test, norm=norm, eps=0.99 * eps)).any()
