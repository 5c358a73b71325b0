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


def measured(given: EvaluationInputs, attack: Attack = ATTACKS[0], **options: Any) -> Measurement:  # noqa: ANN401  # Any: options
    return alignment(attack=attack, **options).measure(given, context=InMemoryContext())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.kind}")
def test_a_model_is_aligned_with_itself(given: EvaluationInputs, attack: Attack) -> None:
    found = measured(replace(given, source=given.reference), attack).metrics

    for name in (
        "alpha_1_st",
        "alpha_1_ts",
        "alpha_1_median_st",
        "tau_1",
        "tau_2_st",
        "tau_2_ts",
        "tau_2_attack_st",
    ):
        assert 1 == pytest.approx(found[name], abs=1e-6), name
    assert found["alpha_2_st"] == pytest.approx(found["joint_st"])
    for name in ("gradient_distance_st", "function_distance_st", "theorem_2_left"):
        assert 0 == pytest.approx(found[name], abs=1e-5), name
    assert found["loss_white_box"] == pytest.approx(found["loss_transfer"])
    assert found["knowledge_distance"] <= found["reference_distance"]


@pytest.mark.parametrize("attack", [ATTACKS[3], ATTACKS[4]], ids=["virtual", "top_singular"])
def test_a_scaled_rotation_of_the_reference_is_aligned_with_it(
    given: EvaluationInputs, attack: Attack
) -> None:
    turned = copy.deepcopy(cast(BlockNetwork, given.reference))
    rotation = 2.5 * torch.linalg.qr(torch.randn(3, 3, generator=stream_generator("rotation"))).Q
    with torch.no_grad():
        head = cast(nn.Linear, turned.head)
        head.weight.copy_(rotation @ head.weight)
        head.bias.copy_(rotation @ head.bias)
    found = measured(replace(given, source=turned), attack).metrics
    itself = measured(replace(given, source=given.reference), attack).metrics

    for name in ("tau_1", "tau_2_st", "tau_2_ts", "alpha_1_st", "alpha_1_ts"):
        assert 1 == pytest.approx(found[name], abs=1e-4), name
    assert itself["alpha_2_st"] == pytest.approx(found["alpha_2_st"], rel=1e-4)
    assert 0 == pytest.approx(found["function_distance_st"], abs=1e-5)


def test_numbers_are_those_of_a_loop_over_samples_that_the_reference_has_right(
    given: EvaluationInputs,
) -> None:
    labels = given.test.labels(torch.arange(70)).clone()
    labels[:10] = (labels[:10] + 1) % 3
    inputs = given.test.inputs(torch.arange(70))
    test = ArraySamples(card=given.test.card, inputs=inputs, labels=labels)
    attack = LabelFreePgd(eps=0.1, steps=3, random_start=False)
    source, reference = cast(BlockNetwork, given.source), cast(BlockNetwork, given.reference)
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

    found = measured(replace(given, test=test), attack)

    assert (60, 10 / 70) == tuple(found.metrics[name] for name in ("right", "reference_error"))
    assert {60} == {value for name, value in found.metrics.items() if name.startswith("kept")}
    assert sum(shares) / 60 == pytest.approx(found.metrics["alpha_1_st"], rel=1e-5)
    assert float(outer.norm()) == pytest.approx(found.metrics["alpha_2_st"], rel=1e-5)
    assert float(torch.stack(losses).mean()) == pytest.approx(
        found.metrics["loss_transfer"], rel=1e-5
    )
    assert [1] * 10 + [0] * 60 == found.samples["reference_error"].tolist()
    torch.testing.assert_close(
        torch.tensor(shares), found.samples["alpha_1_st"][10:], rtol=1e-4, atol=1e-6
    )
    assert found.samples["alpha_1_st"][:10].isnan().all()


def published(model: nn.Module, x: Tensor, attack: LabelFreePgd) -> Tensor:
    """Signed steps on the cross-entropy against the model's own class, one sample at a time."""
    moved, own = x.clone(), model(x).argmax(1)
    for _ in range(attack.steps):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(moved), own), moved)
        moved = (moved + attack.ascent_config.step_size * slope.sign()).detach()
        moved = (x + (moved - x).clamp(-attack.eps, attack.eps)).clamp(0, 1)
    return moved - x


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.kind}")
def test_every_number_is_finite_and_within_what_it_means(
    given: EvaluationInputs, attack: Attack
) -> None:
    found = measured(given, attack).metrics
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

    assert all(map(math.isfinite, found.values()))
    assert all(
        -1e-9 <= value <= 1 + 1e-9
        for name, value in found.items()
        if name.startswith(shares) and "unb" not in name
    )
    assert found["theorem_2_left"] <= found["theorem_2_bound"]
    assert found["theorem_3_left"] <= found["theorem_3_bound"]
    assert (
        abs(found["knowledge_distance"] - found["function_distance_st"])
        <= found["reference_distance"]
    )


def test_a_single_step_of_the_linearised_attack_has_linear_moves(given: EvaluationInputs) -> None:
    found = measured(given, TopSingularAttack(kind="top_singular", eps=0.1)).metrics

    assert found["tau_2_st"] == pytest.approx(found["tau_2_attack_st"])
    assert found["alpha_1_st"] <= 1


def test_the_virtual_attack_comes_near_the_linearised_one_in_a_small_ball_without_a_box(
    given: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    free = replace(given, test=labelled(given.test.labels(torch.arange(70)), bounds=None))
    small = measured(free, VirtualAttack(kind="virtual", eps=1e-2, steps=100)).metrics
    linear = measured(free, TopSingularAttack(kind="top_singular", eps=1e-2)).metrics

    assert linear["tau_1"] == pytest.approx(small["cosine_squared"], abs=0.02)
    assert linear["alpha_1_st"] == pytest.approx(small["alpha_1_st"], abs=0.02)


def test_power_iteration_gives_what_whole_jacobians_give(given: EvaluationInputs) -> None:
    whole = measured(given).metrics
    iterated = measured(given, spectrum=Spectrum(most_outputs=2, iterations=60)).metrics

    for name in ("tau_1", "tau_2_st", "tau_2_ts", "lambda_mean_s", "lambda_max_t"):
        assert whole[name] == pytest.approx(iterated[name], rel=1e-3), name
    assert iterated["power_residual_s"] < 1e-3
    assert "gradient_distance_st" not in iterated
    assert not any(name.startswith("theorem") for name in iterated)


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_the_batch_size_changes_no_bit(given: EvaluationInputs, batch_size: int) -> None:
    context = InMemoryContext(batch_size=batch_size)
    found = alignment(attack=ATTACKS[0]).measure(given, context=context)

    assert measured(given).metrics == found.metrics


def test_a_sample_has_the_same_numbers_in_every_order(given: EvaluationInputs) -> None:
    order = torch.randperm(70, generator=stream_generator("order"))
    found, shuffled = (
        measured(given),
        measured(replace(given, test=SampleSubset(given.test, order))),
    )

    torch.testing.assert_close(
        found.samples["alpha_1_st"][order], shuffled.samples["alpha_1_st"], rtol=1e-4, atol=1e-6
    )
    assert found.metrics["alpha_1_st"] == pytest.approx(shuffled.metrics["alpha_1_st"], rel=1e-6)


def test_another_seed_draws_other_starts(given: EvaluationInputs) -> None:
    context = InMemoryContext(seed=1)

    assert (
        measured(given).metrics
        != alignment(attack=ATTACKS[0], seed=1).measure(given, context=context).metrics
    )


def test_models_and_random_state_are_left_as_they_were(given: EvaluationInputs) -> None:
    models = [cast(BlockNetwork, one) for one in (given.source, given.reference)]
    for model in models:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    before = [
        {name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models
    ]
    state = torch.get_rng_state()
    for attack in (ATTACKS[0], ATTACKS[4]):
        measured(given, attack)
        measured(given, attack, spectrum=Spectrum(most_outputs=0, iterations=2))

    assert state.equal(torch.get_rng_state())
    for model, weights in zip(models, before, strict=True):
        assert all(tensor.equal(weights[name]) for name, tensor in model.state_dict().items())
        assert all(
            one.requires_grad and one.grad is not None and bool((one.grad == 1).all())
            for one in model.parameters()
        )


class Doubled(nn.Module):
    """An adapter that is random in training mode."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.rand_like(inputs) if self.training else 0.5 * inputs


def test_the_source_is_seen_through_the_adapter_in_eval_mode(given: EvaluationInputs) -> None:
    adapter = Doubled()
    halved = copy.deepcopy(cast(BlockNetwork, given.source))
    with torch.no_grad():
        halved.get_parameter("body.hidden.1.weight").mul_(0.5)

    through = measured(replace(given, adapter=adapter)).metrics

    assert adapter.training
    for name, value in measured(replace(given, source=halved)).metrics.items():
        assert value == pytest.approx(through[name], rel=1e-4, abs=1e-6), name


def test_a_learned_adapter_is_no_case_for_it(given: EvaluationInputs) -> None:
    with pytest.raises(Inapplicable, match="learned by each transfer"):
        measured(replace(given, adapter=nn.Conv2d(1, 1, 1)))


def test_what_hangs_on_one_model_is_remembered_for_it(given: EvaluationInputs) -> None:
    context = InMemoryContext()
    evaluation = alignment(attack=ATTACKS[0])
    first = evaluation.measure(given, context=context)

    assert {"source adversarials", "reference adversarials"} == {what for what, _ in context.built}
    assert first.metrics == evaluation.measure(given, context=context).metrics
    assert 2 == len(context.built)


def test_values_are_compared_without_decisions(
    given: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    labels = torch.randn(70, 3, generator=stream_generator("values"))
    test = labelled(labels, task="values", bounds=None)
    found = measured(replace(given, test=test), ATTACKS[3])
    reference = cast(BlockNetwork, given.reference)
    with torch.no_grad():
        apart = (reference(test.inputs(torch.arange(70))) - labels).square().sum(1)

    assert 70 == found.metrics["right"]
    assert float(apart.mean()) == pytest.approx(found.metrics["loss_clean"], rel=1e-5)
    assert float(apart.mean().sqrt()) == pytest.approx(
        found.metrics["reference_distance"], rel=1e-5
    )
    assert not any(name.startswith("error_rate") for name in found.metrics)


def test_attributes_are_right_where_each_of_them_is(
    given: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    reference = cast(BlockNetwork, given.reference)
    test = labelled(torch.zeros(70, 3, dtype=torch.int64))
    with torch.no_grad():
        labels = (reference(test.inputs(torch.arange(70))) > 0).long()
    labels[0, 1] = 1 - labels[0, 1]
    found = measured(replace(given, test=labelled(labels, task="attributes")))

    assert 69 == found.metrics["right"]
    assert 1 == found.samples["reference_error"][0]


@pytest.mark.parametrize("attack", [ATTACKS[0], ATTACKS[2]])
def test_values_have_no_prediction_to_attack(
    given: EvaluationInputs, labelled: Callable[..., ArraySamples], attack: Attack
) -> None:
    test = labelled(torch.zeros(70, 3), task="values", bounds=None)

    with pytest.raises(Inapplicable, match="take virtual or top_singular"):
        measured(replace(given, test=test), attack)


def test_a_reference_that_is_always_wrong_leaves_nothing_to_compare(
    given: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    wrong = labelled((given.test.labels(torch.arange(70)) + 1) % 3)

    with pytest.raises(Inapplicable, match="of 70 samples the reference has 0 right"):
        measured(replace(given, test=wrong))


def test_a_model_in_training_mode_is_refused(given: EvaluationInputs) -> None:
    reference = copy.deepcopy(cast(BlockNetwork, given.reference)).train()

    with pytest.raises(ValueError, match="training mode"):
        measured(replace(given, reference=reference))


def test_a_reference_of_other_outputs_than_the_target_is_refused(given: EvaluationInputs) -> None:
    with pytest.raises(ValueError, match="a reference of 5 outputs; expected 3"):
        measured(replace(given, reference=given.source))


def test_a_model_that_breaks_down_is_refused(given: EvaluationInputs) -> None:
    broken = copy.deepcopy(cast(BlockNetwork, given.source))
    with torch.no_grad():
        cast(nn.Linear, broken.head).bias[0] = torch.nan

    with pytest.raises(ValueError, match="not finite for 70 of 70 samples"):
        measured(replace(given, source=broken))


@pytest.mark.parametrize(
    ("attack", "largest"),
    [
        (LabelFreePgd(eps=1.5), "1"),
        (VirtualAttack(kind="virtual", eps=5), "4"),
        (LabelFreePgd(norm="l2", eps=4.1), "4"),
    ],
)
def test_a_radius_beyond_the_box_is_refused(
    given: EvaluationInputs, attack: Attack, largest: str
) -> None:
    with pytest.raises(ValueError, match=f"expected 0 to {largest} for"):
        measured(given, attack)
