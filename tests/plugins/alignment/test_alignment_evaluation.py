from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples, SampleSubset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import EvaluationInputs, Measurement
from advtransfer_alignment.components import alignment
from advtransfer_alignment.options import (
    Attack,
    LabelFreeFgsm,
    LabelFreePgd,
    Spectrum,
    TopSingularAttack,
    VirtualAttack,
)

ATTACKS: list[Attack] = [
    LabelFreePgd(eps=0.1, steps=4),
    LabelFreePgd(norm="l2", eps=0.4, steps=4, random_start=False),
    LabelFreeFgsm(kind="fgsm", eps=0.1),
    VirtualAttack(kind="virtual", eps=0.4, steps=4),
    TopSingularAttack(kind="top_singular", eps=0.1),
]


def measure(
    evaluation_inputs: EvaluationInputs,
    attack: Attack = ATTACKS[0],
    **options: Any,  # noqa: ANN401  # Any: options
) -> Measurement:
    return alignment(attack=attack, **options).measure(evaluation_inputs, context=InMemoryContext())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.kind}")
def test_a_model_is_aligned_with_itself(
    evaluation_inputs: EvaluationInputs, attack: Attack
) -> None:
    metrics = measure(
        replace(evaluation_inputs, source=evaluation_inputs.reference), attack
    ).metrics

    for name in (
        "alpha_1_st",
        "alpha_1_ts",
        "alpha_1_median_st",
        "tau_1",
        "tau_2_st",
        "tau_2_ts",
        "tau_2_attack_st",
    ):
        assert 1 == pytest.approx(metrics[name], abs=1e-6), name
    assert metrics["alpha_2_st"] == pytest.approx(metrics["joint_st"])
    for name in ("gradient_distance_st", "function_distance_st", "theorem_2_left"):
        assert 0 == pytest.approx(metrics[name], abs=1e-5), name
    assert metrics["loss_white_box"] == pytest.approx(metrics["loss_transfer"])
    assert metrics["knowledge_distance"] <= metrics["reference_distance"]


@pytest.mark.parametrize("attack", [ATTACKS[3], ATTACKS[4]], ids=["virtual", "top_singular"])
def test_a_scaled_rotation_of_the_reference_is_aligned_with_it(
    evaluation_inputs: EvaluationInputs, attack: Attack
) -> None:
    turned = copy.deepcopy(cast(BlockNetwork, evaluation_inputs.reference))
    rotation = 2.5 * torch.linalg.qr(torch.randn(3, 3, generator=stream_generator("rotation"))).Q
    with torch.no_grad():
        head = cast(nn.Linear, turned.head)
        head.weight.copy_(rotation @ head.weight)
        head.bias.copy_(rotation @ head.bias)
    metrics = measure(replace(evaluation_inputs, source=turned), attack).metrics
    itself = measure(replace(evaluation_inputs, source=evaluation_inputs.reference), attack).metrics

    for name in ("tau_1", "tau_2_st", "tau_2_ts", "alpha_1_st", "alpha_1_ts"):
        assert 1 == pytest.approx(metrics[name], abs=1e-4), name
    assert itself["alpha_2_st"] == pytest.approx(metrics["alpha_2_st"], rel=1e-4)
    assert 0 == pytest.approx(metrics["function_distance_st"], abs=1e-5)


def test_metrics_equal_those_of_a_loop_over_correct_samples(
    evaluation_inputs: EvaluationInputs,
) -> None:
    labels = evaluation_inputs.test.labels(torch.arange(70)).clone()
    labels[:10] = (labels[:10] + 1) % 3
    inputs = evaluation_inputs.test.inputs(torch.arange(70))
    test = ArraySamples(card=evaluation_inputs.test.card, inputs=inputs, labels=labels)
    attack = LabelFreePgd(eps=0.1, steps=3, random_start=False)
    source, reference = (
        cast(BlockNetwork, evaluation_inputs.source),
        cast(BlockNetwork, evaluation_inputs.reference),
    )
    shares, outer, losses = [], torch.zeros(5, 3), []
    for position in range(10, 70):
        x = inputs[position : position + 1]
        deltas = [published(model, x, attack) for model in (source, reference)]
        with torch.no_grad():
            own = (source(x + deltas[0]) - source(x))[0]
            other, white = ((reference(x + delta) - reference(x))[0] for delta in deltas)
            losses.append(
                nn.functional.cross_entropy(
                    reference(x + deltas[0]), labels[position : position + 1]
                )
            )
        shares.append(float(other.norm() / white.norm()))
        outer += torch.outer(own / own.norm(), other / other.norm()) / 60

    measurement = measure(replace(evaluation_inputs, test=test), attack)

    assert (60, 10 / 70) == tuple(
        measurement.metrics[name] for name in ("right", "reference_error")
    )
    assert {60} == {value for name, value in measurement.metrics.items() if name.startswith("kept")}
    assert sum(shares) / 60 == pytest.approx(measurement.metrics["alpha_1_st"], rel=1e-5)
    assert float(outer.norm()) == pytest.approx(measurement.metrics["alpha_2_st"], rel=1e-5)
    assert float(torch.stack(losses).mean()) == pytest.approx(
        measurement.metrics["loss_transfer"], rel=1e-5
    )
    assert [1] * 10 + [0] * 60 == measurement.samples["reference_error"].tolist()
    torch.testing.assert_close(
        torch.tensor(shares), measurement.samples["alpha_1_st"][10:], rtol=1e-4, atol=1e-6
    )
    assert measurement.samples["alpha_1_st"][:10].isnan().all()


def published(model: nn.Module, x: Tensor, attack: LabelFreePgd) -> Tensor:
    """Return the perturbation of PGD against the model's own class, for one sample."""
    moved, own = x.clone(), model(x).argmax(1)
    for _ in range(attack.steps):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(moved), own), moved)
        moved = (moved + attack.ascent_config.step_size * slope.sign()).detach()
        moved = (x + (moved - x).clamp(-attack.eps, attack.eps)).clamp(0, 1)
    return moved - x


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.kind}")
def test_every_metric_is_finite_and_within_its_range(
    evaluation_inputs: EvaluationInputs, attack: Attack
) -> None:
    metrics = measure(evaluation_inputs, attack).metrics
    shares = (
        "alpha_2",
        "tau_1",
        "tau_2_s",
        "tau_2_t",
        "cosine_squared",
        "lambda",
        "error_rate",
        "reference_error",
    )

    assert all(map(math.isfinite, metrics.values()))
    assert all(
        -1e-9 <= value <= 1 + 1e-9
        for name, value in metrics.items()
        if name.startswith(shares) and "unb" not in name
    )
    assert metrics["theorem_2_left"] <= metrics["theorem_2_bound"]
    assert metrics["theorem_3_left"] <= metrics["theorem_3_bound"]
    assert (
        abs(metrics["knowledge_distance"] - metrics["function_distance_st"])
        <= metrics["reference_distance"]
    )


def test_linearized_attack_gives_linear_deviations(evaluation_inputs: EvaluationInputs) -> None:
    metrics = measure(evaluation_inputs, TopSingularAttack(kind="top_singular", eps=0.1)).metrics

    assert metrics["tau_2_st"] == pytest.approx(metrics["tau_2_attack_st"])
    assert metrics["alpha_1_st"] <= 1


def test_the_virtual_attack_comes_near_the_linearised_one_in_a_small_ball_without_a_box(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    free = replace(
        evaluation_inputs,
        test=labelled(evaluation_inputs.test.labels(torch.arange(70)), bounds=None),
    )
    small = measure(free, VirtualAttack(kind="virtual", eps=1e-2, steps=100)).metrics
    linear = measure(free, TopSingularAttack(kind="top_singular", eps=1e-2)).metrics

    assert linear["tau_1"] == pytest.approx(small["cosine_squared"], abs=0.02)
    assert linear["alpha_1_st"] == pytest.approx(small["alpha_1_st"], abs=0.02)


def test_power_iteration_gives_what_whole_jacobians_give(
    evaluation_inputs: EvaluationInputs,
) -> None:
    whole = measure(evaluation_inputs).metrics
    iterated = measure(evaluation_inputs, spectrum=Spectrum(most_outputs=2, iterations=60)).metrics

    for name in ("tau_1", "tau_2_st", "tau_2_ts", "lambda_mean_s", "lambda_max_t"):
        assert whole[name] == pytest.approx(iterated[name], rel=1e-3), name
    assert iterated["power_residual_s"] < 1e-3
    assert "gradient_distance_st" not in iterated
    assert not any(name.startswith("theorem") for name in iterated)


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_the_batch_size_changes_no_bit(
    evaluation_inputs: EvaluationInputs, batch_size: int
) -> None:
    context = InMemoryContext(batch_size=batch_size)
    measurement = alignment(attack=ATTACKS[0]).measure(evaluation_inputs, context=context)

    assert measure(evaluation_inputs).metrics == measurement.metrics


def test_a_sample_has_the_same_numbers_in_every_order(evaluation_inputs: EvaluationInputs) -> None:
    order = torch.randperm(70, generator=stream_generator("order"))
    measurement, shuffled = (
        measure(evaluation_inputs),
        measure(replace(evaluation_inputs, test=SampleSubset(evaluation_inputs.test, order))),
    )

    torch.testing.assert_close(
        measurement.samples["alpha_1_st"][order],
        shuffled.samples["alpha_1_st"],
        rtol=1e-4,
        atol=1e-6,
    )
    assert measurement.metrics["alpha_1_st"] == pytest.approx(
        shuffled.metrics["alpha_1_st"], rel=1e-6
    )


def test_another_seed_draws_other_starts(evaluation_inputs: EvaluationInputs) -> None:
    context = InMemoryContext(seed=1)

    assert (
        measure(evaluation_inputs).metrics
        != alignment(attack=ATTACKS[0], seed=1).measure(evaluation_inputs, context=context).metrics
    )


def test_models_and_random_state_are_left_as_they_were(evaluation_inputs: EvaluationInputs) -> None:
    models = [
        cast(BlockNetwork, one) for one in (evaluation_inputs.source, evaluation_inputs.reference)
    ]
    for model in models:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    before = [
        {name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models
    ]
    state = torch.get_rng_state()
    for attack in (ATTACKS[0], ATTACKS[4]):
        measure(evaluation_inputs, attack)
        measure(evaluation_inputs, attack, spectrum=Spectrum(most_outputs=0, iterations=2))

    assert state.equal(torch.get_rng_state())
    for model, weights in zip(models, before, strict=True):
        assert all(tensor.equal(weights[name]) for name, tensor in model.state_dict().items())
        assert all(
            one.requires_grad and one.grad is not None and bool((one.grad == 1).all())
            for one in model.parameters()
        )


class Doubled(nn.Module):
    """Adapter that is random in training mode."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.rand_like(inputs) if self.training else 0.5 * inputs


def test_the_source_is_seen_through_the_adapter_in_eval_mode(
    evaluation_inputs: EvaluationInputs,
) -> None:
    adapter = Doubled()
    halved = copy.deepcopy(cast(BlockNetwork, evaluation_inputs.source))
    with torch.no_grad():
        halved.get_parameter("body.hidden.1.weight").mul_(0.5)

    through = measure(replace(evaluation_inputs, adapter=adapter)).metrics

    assert adapter.training
    for name, value in measure(replace(evaluation_inputs, source=halved)).metrics.items():
        assert value == pytest.approx(through[name], rel=1e-4, abs=1e-6), name


def test_learned_adapter_is_inapplicable(evaluation_inputs: EvaluationInputs) -> None:
    with pytest.raises(Inapplicable, match="learned by each transfer"):
        measure(replace(evaluation_inputs, adapter=nn.Conv2d(1, 1, 1)))


def test_per_model_arrays_are_remembered(evaluation_inputs: EvaluationInputs) -> None:
    context = InMemoryContext()
    evaluation = alignment(attack=ATTACKS[0])
    first = evaluation.measure(evaluation_inputs, context=context)

    assert {"source adversarials", "reference adversarials"} == {what for what, _ in context.built}
    assert first.metrics == evaluation.measure(evaluation_inputs, context=context).metrics
    assert 2 == len(context.built)


def test_regression_has_no_decision_metrics(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    labels = torch.randn(70, 3, generator=stream_generator("values"))
    test = labelled(labels, task="values", bounds=None)
    measurement = measure(replace(evaluation_inputs, test=test), ATTACKS[3])
    reference = cast(BlockNetwork, evaluation_inputs.reference)
    with torch.no_grad():
        apart = (reference(test.inputs(torch.arange(70))) - labels).square().sum(1)

    assert 70 == measurement.metrics["right"]
    assert float(apart.mean()) == pytest.approx(measurement.metrics["loss_clean"], rel=1e-5)
    assert float(apart.mean().sqrt()) == pytest.approx(
        measurement.metrics["reference_distance"], rel=1e-5
    )
    assert not any(name.startswith("error_rate") for name in measurement.metrics)


def test_attributes_are_right_where_each_of_them_is(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    reference = cast(BlockNetwork, evaluation_inputs.reference)
    test = labelled(torch.zeros(70, 3, dtype=torch.int64))
    with torch.no_grad():
        labels = (reference(test.inputs(torch.arange(70))) > 0).long()
    labels[0, 1] = 1 - labels[0, 1]
    measurement = measure(replace(evaluation_inputs, test=labelled(labels, task="attributes")))

    assert 69 == measurement.metrics["right"]
    assert 1 == measurement.samples["reference_error"][0]


@pytest.mark.parametrize("attack", [ATTACKS[0], ATTACKS[2]])
def test_values_have_no_prediction_to_attack(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples], attack: Attack
) -> None:
    test = labelled(torch.zeros(70, 3), task="values", bounds=None)

    with pytest.raises(Inapplicable, match="take virtual or top_singular"):
        measure(replace(evaluation_inputs, test=test), attack)


def test_reference_without_correct_samples_is_inapplicable(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    wrong = labelled((evaluation_inputs.test.labels(torch.arange(70)) + 1) % 3)

    with pytest.raises(Inapplicable, match="of 70 samples the reference has 0 right"):
        measure(replace(evaluation_inputs, test=wrong))


def test_a_model_in_training_mode_is_refused(evaluation_inputs: EvaluationInputs) -> None:
    reference = copy.deepcopy(cast(BlockNetwork, evaluation_inputs.reference)).train()

    with pytest.raises(ValueError, match="training mode"):
        measure(replace(evaluation_inputs, reference=reference))


def test_a_reference_of_other_outputs_than_the_target_is_refused(
    evaluation_inputs: EvaluationInputs,
) -> None:
    with pytest.raises(ValueError, match="a reference of 5 outputs; expected 3"):
        measure(replace(evaluation_inputs, reference=evaluation_inputs.source))


def test_outputs_that_are_not_finite_are_refused(evaluation_inputs: EvaluationInputs) -> None:
    broken = copy.deepcopy(cast(BlockNetwork, evaluation_inputs.source))
    with torch.no_grad():
        cast(nn.Linear, broken.head).bias[0] = torch.nan

    with pytest.raises(ValueError, match="not finite for 70 of 70 samples"):
        measure(replace(evaluation_inputs, source=broken))


@pytest.mark.parametrize(
    ("attack", "largest"),
    [
        (LabelFreePgd(eps=1.5), "1"),
        (VirtualAttack(kind="virtual", eps=5), "4"),
        (LabelFreePgd(norm="l2", eps=4.1), "4"),
    ],
)
def test_a_radius_beyond_the_box_is_refused(
    evaluation_inputs: EvaluationInputs, attack: Attack, largest: str
) -> None:
    with pytest.raises(ValueError, match=f"expected 0 to {largest} for"):
        measure(evaluation_inputs, attack)
