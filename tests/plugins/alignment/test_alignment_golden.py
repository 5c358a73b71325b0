"""Stored metrics of each evaluation at its version; after an intended change raise `version`."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Evaluation, EvaluationInputs
from advtransfer_alignment.components import alignment, h_score, leep, logme, transfer_loss
from advtransfer_alignment.options import (
    LabelFreeFgsm,
    LabelFreePgd,
    Spectrum,
    TopSingularAttack,
    VirtualAttack,
)

GOLDEN: list[tuple[str, Evaluation, dict[str, float]]] = [
    (
        "pgd",
        alignment(attack=LabelFreePgd(eps=0.1, steps=4)),
        {
            "alpha_1_st": 0.3493,
            "alpha_2_ts": 0.9198,
            "joint_st": 0.3260,
            "cosine": -0.0093,
            "loss_transfer": 0.9413,
            "alpha_1_median_ts": 0.7029,
            "alpha_2_squared_unbiased_st": 0.8428,
            "tau_1": 0.2466,
            "tau_2_st": 0.7116,
            "tau_2_attack_ts": 0.8271,
            "lambda_max_s": 0.8393,
            "gradient_distance_st": 0.3075,
            "function_distance_ts": 0.1384,
            "feature_distance_st": 0.0505,
            "knowledge_distance": 0.4858,
            "theorem_2_bound": 1.7473,
            "theorem_3_left": 0.9308,
            "theorem_3_bound": 2.5277,
            "error_rate_st": 0.0714,
        },
    ),
    (
        "fgsm",
        alignment(attack=LabelFreeFgsm(kind="fgsm", eps=0.1)),
        {
            "alpha_1_st": 0.3719,
            "alpha_2_ts": 0.8951,
            "joint_st": 0.3186,
            "cosine": 0.1107,
            "loss_transfer": 0.9427,
        },
    ),
    (
        "virtual",
        alignment(attack=VirtualAttack(kind="virtual", eps=0.4, steps=4)),
        {
            "alpha_1_st": 0.5815,
            "alpha_2_ts": 0.9109,
            "joint_st": 0.4694,
            "cosine": 0.6092,
            "loss_transfer": 0.9526,
        },
    ),
    (
        "top singular",
        alignment(attack=TopSingularAttack(kind="top_singular", eps=0.1)),
        {
            "alpha_1_st": 0.5166,
            "alpha_2_ts": 0.9977,
            "joint_st": 0.5144,
            "cosine": 0.0362,
            "loss_transfer": 0.9401,
        },
    ),
    (
        "power iteration",
        alignment(
            attack=LabelFreeFgsm(kind="fgsm", eps=0.1),
            spectrum=Spectrum(most_outputs=0, iterations=5),
        ),
        {"tau_1": 0.2466, "tau_2_st": 0.7116, "lambda_mean_t": 0.5953},
    ),
    ("transfer loss", transfer_loss(), {"loss": 0.9410}),
    ("leep", leep(), {"leep": -0.6724}),
    ("h_score", h_score(), {"h_score": 0.6069}),
    ("logme", logme(attack=LabelFreePgd(eps=0.1, steps=3)), {"logme": -0.5310}),
]


@pytest.mark.parametrize(
    ("evaluation", "expected"), [one[1:] for one in GOLDEN], ids=[one[0] for one in GOLDEN]
)
def test_metrics_equal_the_stored_ones(
    evaluation_inputs: EvaluationInputs, evaluation: Evaluation, expected: dict[str, float]
) -> None:
    whole = replace(
        evaluation_inputs,
        model=cast(BlockNetwork, evaluation_inputs.reference),
        train=evaluation_inputs.test,
    )
    metrics = evaluation.measure(whole, context=InMemoryContext()).metrics

    assert expected == {name: pytest.approx(metrics[name], abs=2e-4) for name in expected}
