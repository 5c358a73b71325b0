"""Attributes and values: linear models, of which the exact answers are known."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.precheck import CellOutline, Outline, precheck_of
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Measurement, Outcome, Task
from advtransfer.worker.verification.examples import verify_examples
from advtransfer_foolbox import attributes
from advtransfer_foolbox.attack_settings import DeepFool, Pgd
from advtransfer_foolbox.components import ensembles, gradient

COUNT = 120
EPS = 0.02


def samples(labels: Tensor, inputs: Tensor, task: Task) -> ArraySamples:
    outputs = labels.shape[1]
    card = DataCard((1, 4, 4), (0.0, 1.0), task, outputs, tuple(map(str, range(outputs))), "")
    return ArraySamples(card=card, inputs=inputs, labels=labels)


def linear_model(outputs: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Return a linear model, images far from the box, and its outputs in float64."""
    source = torch.Generator().manual_seed(0)
    layer = nn.Linear(16, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn((outputs, 16), generator=source))
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    inputs = 0.2 + 0.6 * torch.rand((COUNT, 1, 4, 4), generator=source)
    logits = inputs.flatten(1).double() @ layer.weight.double().T + layer.bias.double()
    return nn.Sequential(nn.Flatten(), layer).eval(), inputs, logits.detach()


@pytest.fixture
def three_attributes() -> tuple[nn.Sequential, ArraySamples, Tensor]:
    """A model of three attributes, samples of which a tenth have one wrong, and its outputs."""
    model, inputs, logits = linear_model(3)
    labels = (logits > 0).long()
    labels[::10, 1] = 1 - labels[::10, 1]
    return model, samples(labels, inputs, "attributes"), logits


def measured(evaluation: Evaluation, model: nn.Module, test: ArraySamples) -> Measurement:
    given = EvaluationInputs(test=test, model=model)
    return evaluation.measure(given, context=cast(Any, InMemoryContext()))  # Any: a stand-in


def breakable(model: nn.Sequential, logits: Tensor, norm: str, eps: float) -> Tensor:
    """Return which samples have an attribute that a step within eps flips, ``(N,)`` bool."""
    weight = cast(nn.Linear, model[1]).weight.double()
    order = {"linf": 1.0, "l2": 2.0, "l1": math.inf}[norm]
    reach = eps * torch.linalg.vector_norm(weight, ord=order, dim=1)
    can_flip: Tensor = (logits.abs() < reach).any(1)
    return can_flip


def test_a_sample_is_right_when_all_its_attributes_are(
    three_attributes: tuple[nn.Sequential, ArraySamples, Tensor],
) -> None:
    model, test, _ = three_attributes
    found = measured(gradient.clean_accuracy(), model, test)

    expected = torch.full((COUNT,), int(Outcome.ROBUST), dtype=torch.uint8)
    expected[::10] = int(Outcome.WRONG)
    assert found.outcomes["accuracy"].equal(expected)
    assert 1 - 0.1 / 3 == pytest.approx(found.metrics["attribute_accuracy"])
    shares = found.samples["attribute_accuracy"]
    assert shares[::10].allclose(torch.tensor(2 / 3))
    assert (shares[1::10] == 1).all()


def test_logits_that_are_not_finite_are_no_prediction_of_attributes(
    three_attributes: tuple[nn.Sequential, ArraySamples, Tensor],
) -> None:
    _, test, _ = three_attributes

    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full((len(images), 3), torch.nan)

    found = measured(gradient.clean_accuracy(), Broken().eval(), test)

    assert (found.outcomes["accuracy"] == Outcome.UNKNOWN).all()
    assert "attribute_accuracy" not in found.metrics


# In l_1, steps along whole gradients do not reach the ball's corners.
@pytest.mark.parametrize(
    ("kind", "norm"),
    [
        ("pgd", "linf"),
        ("pgd", "l2"),
        ("pgd", "l1"),
        ("basic_iterative", "linf"),
        ("basic_iterative", "l2"),
    ],
)
def test_any_attribute_that_can_flip_breaks_the_sample(
    three_attributes: tuple[nn.Sequential, ArraySamples, Tensor], kind: str, norm: Norm
) -> None:
    model, test, logits = three_attributes
    eps = {"linf": EPS, "l2": 3 * EPS, "l1": 6 * EPS}[norm]
    options: dict[str, Any] = {"steps": 30, "step_size": eps / 4, "loss": "targeted_margin"}
    found = measured(getattr(gradient, kind)(norm=norm, eps=eps, **options), model, test)

    outcomes = found.outcomes[f"robust_accuracy@{eps:g}"]
    is_right = outcomes != Outcome.WRONG
    can_flip = breakable(model, logits, norm, eps)
    # Near the reach the last steps of a projected ascent decide.
    is_clear = can_flip == breakable(model, logits, norm, 0.97 * eps)
    is_clear &= can_flip == breakable(model, logits, norm, 1.03 * eps)
    assert 30 < int(can_flip.sum()) < 100
    assert ((outcomes == Outcome.BROKEN) == can_flip)[is_right & is_clear].all()
    assert is_right.logical_not().nonzero().flatten().tolist() == list(range(0, COUNT, 10))


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_losses_of_all_attributes_break_most_of_them(
    three_attributes: tuple[nn.Sequential, ArraySamples, Tensor],
    loss: Literal["cross_entropy", "margin"],
) -> None:
    model, test, logits = three_attributes
    found = measured(
        gradient.pgd(norm="linf", eps=EPS, steps=20, step_size=EPS / 4, loss=loss), model, test
    )
    broken = found.outcomes[f"robust_accuracy@{EPS:g}"] == Outcome.BROKEN
    can_flip = breakable(model, logits, "linf", EPS)

    assert not (broken & ~can_flip).any()
    assert int(broken.sum()) > 0.75 * int(
        (can_flip & torch.arange(COUNT).remainder(10).ne(0)).sum()
    )


def test_confident_models_of_attributes_are_attacked_as_well(
    three_attributes: tuple[nn.Sequential, ArraySamples, Tensor],
) -> None:
    """Without the logarithm, binary cross-entropy of logits times 400 would have no gradient."""
    model, test, _ = three_attributes
    evaluation = gradient.pgd(norm="l2", eps=3 * EPS, steps=20, step_size=EPS)
    before = measured(evaluation, model, test).outcomes[f"robust_accuracy@{3 * EPS:g}"]
    layer = cast(nn.Linear, model[1])
    with torch.no_grad():
        layer.weight.mul_(400)
        layer.bias.mul_(400)
    after = measured(evaluation, model, test).outcomes[f"robust_accuracy@{3 * EPS:g}"]

    # The largest margin weighs more on a confident model, which helps as often as it harms.
    robust_counts = [int((outcomes == Outcome.ROBUST).sum()) for outcomes in (before, after)]
    assert robust_counts[1] <= robust_counts[0] + 0.02 * COUNT


def test_host_judges_examples_of_attributes_by_itself(
    three_attributes: tuple[nn.Sequential, ArraySamples, Tensor],
) -> None:
    model, test, _ = three_attributes
    found = measured(gradient.pgd(norm="linf", eps=EPS, steps=20, step_size=EPS / 4), model, test)
    device = torch.device("cpu")
    verified, checks = verify_examples(
        found.outcomes, found.examples, test=test, model=model, device=device
    )
    name = f"robust_accuracy@{EPS:g}"

    assert verified[name].equal(found.outcomes[name])
    assert {"pass"} == {check.grade for check in checks}
    # The clean images flip nothing, so they are no examples.
    (group,) = found.examples
    with torch.no_grad():
        group.inputs.copy_(test.inputs(group.positions))
    verified, checks = verify_examples(
        found.outcomes, found.examples, test=test, model=model, device=device
    )
    assert (verified[name][group.positions] == Outcome.UNKNOWN).all()
    assert "fail" in {check.grade for check in checks}


def test_attributes_need_attacks_that_know_them(
    three_attributes: tuple[nn.Sequential, ArraySamples, Tensor],
) -> None:
    model, test, _ = three_attributes
    pgd = Pgd(kind="pgd", steps=2, step_size=0.1)
    members = (pgd, DeepFool(kind="deepfool"))
    evaluation = ensembles.ensemble(norm="linf", eps=EPS, attacks=members)
    with pytest.raises(Inapplicable, match="another attack of this evaluation knows classes only"):
        measured(evaluation, model, test)
    check = precheck_of(ensembles.ensemble).check
    assert check is not None
    chosen = {"norm": "linf", "eps": EPS, "attacks": members}
    around = CellOutline(target=Outline(shape=(1, 4, 4), task="attributes"))
    assert [("attacks", 1)] == [misfit.path for misfit in check(chosen, around)]
    assert [] == list(check(chosen, CellOutline()))


def test_attributes_nearest_to_flipping_come_first() -> None:
    logits = torch.tensor([[3.0, -1.0, 0.5]])
    labels = torch.tensor([[1, 0, 0]])

    assert [[-3.0, -1.0, 0.5]] == attributes.attribute_margins(logits, labels).tolist()
    assert [[2, 1, 0]] == attributes.nearest_attributes(logits, labels).tolist()


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_log_binary_cross_entropy_has_the_direction_of_binary_cross_entropy(scale: float) -> None:
    margins = scale * torch.tensor([[-0.7, -1.1, -0.5], [0.3, -2.0, 1.0]], dtype=torch.float64)
    labels = torch.zeros_like(margins)
    direct = margins.clone().requires_grad_()
    summed = nn.functional.softplus(direct, threshold=1000).sum(1).log().sum()
    stable = margins.clone().requires_grad_()
    values = attributes.log_binary_cross_entropy(stable, labels, None).sum()

    # In float64 the sum itself does not underflow at these scales.
    (expected,) = torch.autograd.grad(summed, direct)
    (found,) = torch.autograd.grad(values, stable)
    assert found.isfinite().all()
    assert found.allclose(expected, rtol=1e-5, atol=1e-9)


def test_attacked_loss_of_linear_values_is_exact() -> None:
    """The squared distance of one value grows to the square of |residual| + eps * ||w||_1."""
    model, inputs, outputs = linear_model(1)
    residuals = 2 * torch.rand((COUNT, 1), generator=torch.Generator().manual_seed(1)).double() - 1
    test = samples((outputs - residuals).float(), inputs, "values")
    radii = (0.1, 0.05)
    found = measured(
        gradient.attacked_loss(
            norm="linf", eps=radii, steps=20, step_size=0.03, random_start=False
        ),
        model,
        test,
    )

    norm = cast(nn.Linear, model[1]).weight.double().abs().sum()
    assert found.outcomes == {}
    assert {"loss", "attacked_loss@0.1", "attacked_loss@0.05"} == found.metrics.keys()
    assert found.samples["loss"].double().allclose(residuals[:, 0].square(), rtol=1e-3, atol=1e-5)
    for eps in radii:
        exact = (residuals[:, 0].abs() + eps * norm).square()
        losses = found.samples[f"attacked_loss@{eps:g}"].double()
        assert losses.allclose(exact, rtol=1e-3)
        assert found.metrics[f"attacked_loss@{eps:g}"] == pytest.approx(
            losses.mean().item(), rel=1e-5
        )
    assert (found.samples["attacked_loss@0.05"] >= found.samples["loss"]).all()
    assert (found.samples["attacked_loss@0.1"] >= found.samples["attacked_loss@0.05"]).all()


def test_attacked_loss_depends_on_no_batch() -> None:
    model, inputs, outputs = linear_model(2)
    test = samples(outputs.float() + 0.3, inputs, "values")
    half = ArraySamples(card=test.card, inputs=inputs[:70], labels=test.labels(torch.arange(70)))
    evaluation = gradient.attacked_loss(norm="l2", eps=0.1, steps=5, step_size=0.03, restarts=2)

    whole, part = (measured(evaluation, model, given) for given in (test, half))
    assert whole.samples["attacked_loss@0.1"][:70].equal(part.samples["attacked_loss@0.1"])


def test_loss_that_is_not_finite_is_an_error() -> None:
    _, inputs, outputs = linear_model(1)

    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :1] / 0

    with pytest.raises(ValueError, match="found a loss that is not finite"):
        measured(
            gradient.attacked_loss(norm="linf", eps=0.1, steps=2, step_size=0.1),
            Broken().eval(),
            samples(outputs.float(), inputs, "values"),
        )
