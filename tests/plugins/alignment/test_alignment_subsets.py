"""Subset of samples that each metric is computed over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import EvaluationInputs, Measurement
from advtransfer_alignment.components import alignment
from advtransfer_alignment.metrics import masked_to, metrics_over_subset, sufficient_rows
from advtransfer_alignment.options import (
    Attack,
    LabelFreeFgsm,
    LabelFreePgd,
    Spectrum,
    TopSingularAttack,
    VirtualAttack,
)

STEP = LabelFreeFgsm(kind="fgsm", eps=1e-4)
ATTACKS: list[Attack] = [
    LabelFreePgd(eps=0.1, steps=3),
    VirtualAttack(kind="virtual", eps=0.4, steps=3),
    TopSingularAttack(kind="top_singular", eps=0.1),
]


def measure(
    evaluation_inputs: EvaluationInputs, attack: Attack = STEP, *, spectrum: Spectrum | None = None
) -> Measurement:
    evaluation = alignment(attack=attack, spectrum=Spectrum() if spectrum is None else spectrum)
    return evaluation.measure(evaluation_inputs, context=InMemoryContext())


def with_moving_images(evaluation_inputs: EvaluationInputs, count: int) -> EvaluationInputs:
    """Return inputs whose source is constant except on the `count` brightest images."""
    brightness = evaluation_inputs.test.inputs(torch.arange(70)).flatten(1).mean(1)
    order = brightness.sort(descending=True).values
    source = copy.deepcopy(cast(BlockNetwork, evaluation_inputs.source))
    hidden = nn.Linear(16, 12)
    with torch.no_grad():
        hidden.weight.fill_(1 / 16)
        hidden.bias.fill_(-float(order[count - 1] + order[count]) / 2 if count < 70 else 0.0)
    source.body.hidden = nn.Sequential(nn.Flatten(), hidden, nn.ReLU())
    return replace(evaluation_inputs, source=source.eval())


def test_metrics_over_few_moved_images_are_left_out(
    evaluation_inputs: EvaluationInputs,
) -> None:
    metrics = measure(with_moving_images(evaluation_inputs, 3)).metrics

    assert 70 == metrics["right"]
    assert [3, 3, 3] == [metrics[f"kept_{name}"] for name in ("alpha_1_ts", "alpha_2_st", "tau_1")]
    for name in (
        "alpha_1_ts",
        "alpha_2_st",
        "alpha_2_ts",
        "joint_st",
        "joint_ts",
        "tau_1",
        "tau_2_st",
        "lambda_max_s",
    ):
        assert name not in metrics, name
    assert not any(name.startswith("theorem") for name in metrics)


def test_metrics_without_source_moves_are_kept_for_a_still_source(
    evaluation_inputs: EvaluationInputs,
) -> None:
    measurement = measure(with_moving_images(evaluation_inputs, 3))

    assert [70, 70] == [measurement.metrics[f"kept_{name}"] for name in ("alpha_1_st", "tau_2_ts")]
    for name in (
        "alpha_1_st",
        "tau_2_ts",
        "lambda_max_t",
        "gradient_distance_st",
        "knowledge_distance",
    ):
        assert name in measurement.metrics, name
    assert "alpha_1_ts" not in measurement.samples


@pytest.mark.parametrize("attack", [STEP, TopSingularAttack(kind="top_singular", eps=0.1)])
def test_a_source_that_never_moves_still_has_losses_and_distances(
    evaluation_inputs: EvaluationInputs, attack: Attack
) -> None:
    still = copy.deepcopy(cast(BlockNetwork, evaluation_inputs.source))
    with torch.no_grad():
        cast(nn.Linear, still.head).weight.zero_()
    metrics = measure(replace(evaluation_inputs, source=still), attack).metrics

    assert 0 == metrics["kept_alpha_1_ts"]
    assert not {
        "alpha_1_ts",
        "alpha_2_st",
        "joint_st",
        "tau_1",
        "tau_2_st",
        "tau_2_ts",
        "tau_2_attack_ts",
    } & {*metrics}
    assert metrics["loss_clean"] < metrics["loss_white_box"]
    assert 0 == metrics["error_rate_ts"]


def test_reference_metrics_do_not_depend_on_the_source(
    evaluation_inputs: EvaluationInputs,
) -> None:
    metrics = [
        measure(inputs).metrics
        for inputs in (
            evaluation_inputs,
            with_moving_images(evaluation_inputs, 3),
            with_moving_images(evaluation_inputs, 50),
        )
    ]

    for name in (
        "right",
        "loss_clean",
        "loss_white_box",
        "error_rate_tt",
        "reference_distance",
        "lambda_mean_t",
    ):
        assert 1 == len({inputs[name] for inputs in metrics}), name


def test_source_moved_by_half_of_the_images_has_all_metrics(
    evaluation_inputs: EvaluationInputs,
) -> None:
    half, less = (
        measure(with_moving_images(evaluation_inputs, count)).metrics for count in (35, 34)
    )

    assert 35 == half["kept_alpha_2_st"]
    assert "alpha_2_st" in half
    assert 34 == less["kept_alpha_2_st"]
    assert "alpha_2_st" not in less


def test_alpha_1_is_0_where_the_attack_does_not_reach_the_other_model(
    evaluation_inputs: EvaluationInputs,
) -> None:
    measurement = measure(
        with_moving_images(evaluation_inputs, 50), TopSingularAttack(kind="top_singular", eps=1e-4)
    )
    shares = measurement.samples["alpha_1_st"]

    # Where the source is constant, its linearized attack does not move the inputs.
    assert [20, 50] == [int((shares == 0).sum()), int((shares > 0).sum())]
    assert 70 == measurement.metrics["kept_alpha_1_st"]
    assert 50 == measurement.metrics["kept_tau_2_st"] == measurement.metrics["kept_joint_st"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.kind}")
@pytest.mark.parametrize("most", [0, 32])
def test_mean_of_each_array_is_its_metric(
    evaluation_inputs: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    attack: Attack,
    most: int,
) -> None:
    labels = evaluation_inputs.test.labels(torch.arange(70)).clone()
    labels[:10] = (labels[:10] + 1) % 3
    measurement = measure(
        replace(evaluation_inputs, test=labelled(labels)),
        attack,
        spectrum=Spectrum(most_outputs=most, iterations=3),
    )
    means = {name: float(values.double().nanmean()) for name, values in measurement.samples.items()}

    assert means == {
        name: pytest.approx(measurement.metrics[name], rel=1e-5, abs=1e-7) for name in means
    }
    expected = {
        "alpha_1_st",
        "alpha_1_ts",
        "loss_clean",
        "loss_white_box",
        "loss_transfer",
        "tau_1",
        "cosine",
    }
    expected |= {f"error_rate_{way}" for way in ("ss", "st", "tt", "ts")}
    assert expected <= means.keys()
    for name in expected:
        assert [True] * 10 + [False] * 60 == measurement.samples[name].isnan().tolist(), name


def mask(text: str) -> Tensor:
    return torch.tensor([mark == "1" for mark in text])


@pytest.mark.parametrize(
    ("right", "defined", "rows"),
    [
        ("11110", "11001", "11000"),
        ("11110", "10001", None),
        ("11000", "10111", None),
        ("11000", "11111", "11000"),
        ("11111", "11000", None),
        ("11111", "11100", "11100"),
    ],
)
def test_subset_needs_half_of_the_correct_samples_and_at_least_two(
    right: str, defined: str, rows: str | None
) -> None:
    measurement = sufficient_rows(mask(right), mask(defined))

    assert (None if rows is None else mask(rows).tolist()) == (
        None if measurement is None else measurement.tolist()
    )


def test_sample_count_is_reported_even_for_too_few_samples() -> None:
    values = torch.tensor([1.0, 3.0, torch.inf, 7.0])

    few = metrics_over_subset(
        mask("1111"), mask("0001"), name="x", metrics=lambda rows: {"x": masked_to(rows, values)}
    )
    half = metrics_over_subset(
        mask("1111"), mask("1100"), name="x", metrics=lambda rows: {"x": masked_to(rows, values)}
    )

    assert {"kept_x": 1.0} == few
    assert 2 == half["kept_x"]
    torch.testing.assert_close(
        torch.tensor([1, 3, torch.nan, torch.nan]).double(), half["x"], equal_nan=True
    )
