"""Over which samples each number is taken: the same for every source, and left out where too few of them tell it."""

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


def measured(
    given: EvaluationInputs, attack: Attack = STEP, *, spectrum: Spectrum | None = None
) -> Measurement:
    evaluation = alignment(attack=attack, spectrum=Spectrum() if spectrum is None else spectrum)
    return evaluation.measure(given, context=InMemoryContext())


def awake(given: EvaluationInputs, count: int) -> EvaluationInputs:
    """The source answers only to the `count` brightest images: on all others it says the same, wherever they move."""
    brightness = given.test.inputs(torch.arange(70)).flatten(1).mean(1)
    order = brightness.sort(descending=True).values
    source = copy.deepcopy(cast(BlockNetwork, given.source))
    hidden = nn.Linear(16, 12)
    with torch.no_grad():
        hidden.weight.fill_(1 / 16)
        hidden.bias.fill_(-float(order[count - 1] + order[count]) / 2 if count < 70 else 0.0)
    source.body.hidden = nn.Sequential(nn.Flatten(), hidden, nn.ReLU())
    return replace(given, source=source.eval())


def test_a_source_that_few_images_move_has_no_number_made_of_those_few(
    given: EvaluationInputs,
) -> None:
    found = measured(awake(given, 3)).metrics

    assert 70 == found["right"]
    assert [3, 3, 3] == [found[f"kept_{name}"] for name in ("alpha_1_ts", "alpha_2_st", "tau_1")]
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
        assert name not in found, name
    assert not any(name.startswith("theorem") for name in found)


def test_what_needs_no_move_of_the_source_is_told_of_one_that_hardly_moves(
    given: EvaluationInputs,
) -> None:
    found = measured(awake(given, 3))

    assert [70, 70] == [found.metrics[f"kept_{name}"] for name in ("alpha_1_st", "tau_2_ts")]
    for name in (
        "alpha_1_st",
        "tau_2_ts",
        "lambda_max_t",
        "gradient_distance_st",
        "knowledge_distance",
    ):
        assert name in found.metrics, name
    assert "alpha_1_ts" not in found.samples


@pytest.mark.parametrize("attack", [STEP, TopSingularAttack(kind="top_singular", eps=0.1)])
def test_a_source_that_never_moves_still_has_losses_and_distances(
    given: EvaluationInputs, attack: Attack
) -> None:
    still = copy.deepcopy(cast(BlockNetwork, given.source))
    with torch.no_grad():
        cast(nn.Linear, still.head).weight.zero_()
    found = measured(replace(given, source=still), attack).metrics

    assert 0 == found["kept_alpha_1_ts"]
    assert not {
        "alpha_1_ts",
        "alpha_2_st",
        "joint_st",
        "tau_1",
        "tau_2_st",
        "tau_2_ts",
        "tau_2_attack_ts",
    } & {*found}
    assert found["loss_clean"] < found["loss_white_box"]
    assert 0 == found["error_rate_ts"]


def test_numbers_of_the_reference_alone_are_the_same_beside_every_source(
    given: EvaluationInputs,
) -> None:
    found = [measured(one).metrics for one in (given, awake(given, 3), awake(given, 50))]

    for name in (
        "right",
        "loss_clean",
        "loss_white_box",
        "error_rate_tt",
        "reference_distance",
        "lambda_mean_t",
    ):
        assert 1 == len({one[name] for one in found}), name


def test_a_source_that_half_of_the_images_move_has_all_numbers(given: EvaluationInputs) -> None:
    half, less = (measured(awake(given, count)).metrics for count in (35, 34))

    assert 35 == half["kept_alpha_2_st"]
    assert "alpha_2_st" in half
    assert 34 == less["kept_alpha_2_st"]
    assert "alpha_2_st" not in less


def test_alpha_1_is_0_where_the_attack_does_not_reach_the_other_model(
    given: EvaluationInputs,
) -> None:
    found = measured(awake(given, 50), TopSingularAttack(kind="top_singular", eps=1e-4))
    shares = found.samples["alpha_1_st"]

    # where the source has no slope, its linearised attack goes nowhere
    assert [20, 50] == [int((shares == 0).sum()), int((shares > 0).sum())]
    assert 70 == found.metrics["kept_alpha_1_st"]
    assert 50 == found.metrics["kept_tau_2_st"] == found.metrics["kept_joint_st"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.kind}")
@pytest.mark.parametrize("most", [0, 32])
def test_each_array_has_the_mean_that_the_metric_of_its_name_is(
    given: EvaluationInputs, labelled: Callable[..., ArraySamples], attack: Attack, most: int
) -> None:
    labels = given.test.labels(torch.arange(70)).clone()
    labels[:10] = (labels[:10] + 1) % 3
    found = measured(
        replace(given, test=labelled(labels)),
        attack,
        spectrum=Spectrum(most_outputs=most, iterations=3),
    )
    told = {name: float(values.double().nanmean()) for name, values in found.samples.items()}

    assert told == {name: pytest.approx(found.metrics[name], rel=1e-5, abs=1e-7) for name in told}
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
    assert expected <= told.keys()
    for name in expected:
        assert [True] * 10 + [False] * 60 == found.samples[name].isnan().tolist(), name


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
def test_half_of_the_right_samples_are_enough_and_two_at_least(
    right: str, defined: str, rows: str | None
) -> None:
    found = sufficient_rows(mask(right), mask(defined))

    assert (None if rows is None else mask(rows).tolist()) == (
        None if found is None else found.tolist()
    )


def test_how_many_samples_there_are_is_told_also_where_they_are_too_few() -> None:
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
