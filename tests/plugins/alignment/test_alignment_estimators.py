"""Estimators against cases computed by hand and other forms of their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Evaluation, EvaluationInputs
from advtransfer_alignment.components import h_score, leep, logme
from advtransfer_alignment.estimators import h_score_and_rank, leep_score, log_me_score
from advtransfer_alignment.options import LabelFreePgd


def rows(name: str, count: int, width: int) -> Tensor:
    return torch.randn((count, width), generator=stream_generator(name), dtype=torch.float64)


def test_leep_of_four_samples_by_hand() -> None:
    theta = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
    labels = torch.tensor([0, 0, 1, 1])
    # P(y, z) * 4: y = 0: 1.4, 0.6; y = 1: 0.6, 1.4; P(z) * 4: 2, 2
    evaluation_inputs = [[0.7, 0.3], [0.3, 0.7]]
    likelihoods = [
        evaluation_inputs[0][0] * 0.8 + evaluation_inputs[0][1] * 0.2,
        evaluation_inputs[0][0] * 0.6 + evaluation_inputs[0][1] * 0.4,
        evaluation_inputs[1][0] * 0.1 + evaluation_inputs[1][1] * 0.9,
        evaluation_inputs[1][0] * 0.5 + evaluation_inputs[1][1] * 0.5,
    ]

    assert sum(map(math.log, likelihoods)) / 4 == pytest.approx(leep_score(theta.log(), labels))


def test_leep_is_0_for_informative_source_classes_and_the_entropy_for_uninformative_ones() -> None:
    labels = torch.tensor([0, 1, 2, 1])
    sure = 1e3 * torch.nn.functional.one_hot(torch.tensor([2, 0, 3, 0]), 5).double()
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))

    assert 0 == pytest.approx(leep_score(sure, labels))
    assert -entropy == pytest.approx(leep_score(torch.zeros(4, 5), labels))


def test_the_h_score_is_the_trace_of_the_definition() -> None:
    features, labels = rows("features", 60, 4), torch.arange(60) % 3
    features[:, 0] += labels
    means = torch.stack([features[labels == one].mean(0) for one in labels])
    expected = np.trace(np.linalg.inv(np.cov(features.T, bias=True)) @ np.cov(means.T, bias=True))
    h_score_result = h_score_and_rank(features, labels, cutoff=1e-6)

    assert float(expected) == pytest.approx(h_score_result.score)
    assert 4 == h_score_result.rank


def test_the_h_score_of_classes_without_spread_is_their_number_minus_1() -> None:
    labels = torch.arange(30) % 3

    assert 2 == pytest.approx(h_score_and_rank(torch.eye(3)[labels], labels, cutoff=1e-6).score)


def test_the_h_score_of_one_feature_is_the_correlation_ratio() -> None:
    features, labels = torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([0, 0, 1, 1])

    # between: 4, whole: 5
    assert 4 / 5 == pytest.approx(h_score_and_rank(features, labels, cutoff=1e-6).score)


def test_h_score_is_invariant_to_invertible_maps_and_repeated_features() -> None:
    features, labels = rows("features", 60, 4), torch.arange(60) % 3
    mixed = torch.cat([features @ rows("map", 4, 4) + 7, features[:, :1]], 1)
    before, after = (h_score_and_rank(one, labels, cutoff=1e-6) for one in (features, mixed))

    assert before.score == pytest.approx(after.score)
    assert 4 == after.rank


@pytest.mark.parametrize(("count", "width"), [(40, 3), (12, 20)])
def test_logme_is_the_largest_density_of_a_gaussian_over_both_precisions(
    count: int, width: int
) -> None:
    features = rows("features", count, width)
    outputs = features[:, :1] @ torch.tensor([[1.0, -0.3]]).double() + 0.5 * rows("noise", count, 2)

    def density(column: Tensor) -> float:
        def negative(logs: np.ndarray) -> float:
            alpha, beta = np.exp(logs)
            covariance = (features @ features.T / alpha + torch.eye(count) / beta).numpy()
            return -float(multivariate_normal.logpdf(column.numpy(), cov=covariance))

        return -float(
            minimize(
                negative, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9}
            ).fun
        )

    expected = sum(density(column) for column in outputs.T) / 2 / count

    assert expected == pytest.approx(log_me_score(features, outputs), abs=1e-6)


def test_logme_prefers_features_that_explain_the_labels() -> None:
    labels = torch.nn.functional.one_hot(torch.arange(60) % 3, 3)
    told = labels + 0.1 * rows("noise", 60, 3)

    assert log_me_score(told, labels) > log_me_score(rows("features", 60, 3), labels) + 0.5


def test_a_class_without_samples_does_not_count_in_logme() -> None:
    features, labels = rows("features", 60, 3), torch.nn.functional.one_hot(torch.arange(60) % 2, 2)

    assert log_me_score(features, labels) == log_me_score(
        features, torch.nn.functional.one_hot(torch.arange(60) % 2, 3)
    )


def test_logme_is_finite_for_a_perfect_fit_and_for_features_that_are_zero() -> None:
    features = rows("features", 20, 3)

    assert math.isfinite(log_me_score(features, features[:, :1]))
    assert math.isfinite(log_me_score(torch.zeros(20, 3), torch.ones(20, 1)))


@pytest.fixture
def seen(
    evaluation_inputs: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> EvaluationInputs:
    """A source and 70 training samples, without a reference."""
    return replace(evaluation_inputs, train=evaluation_inputs.test, reference=None)


@pytest.mark.parametrize("evaluation", [leep(), h_score(), logme()])
def test_estimate_is_computed_from_the_sources_activations(
    seen: EvaluationInputs, evaluation: Evaluation
) -> None:
    source, inputs = cast(BlockNetwork, seen.source), seen.test.inputs(torch.arange(70))
    labels = seen.test.labels(torch.arange(70))
    with torch.no_grad():
        features, logits = source.features(inputs), source(inputs)
    expected = {
        "leep": leep_score(logits, labels),
        "h_score": h_score_and_rank(features, labels, cutoff=1e-6).score,
        "logme": log_me_score(features, torch.nn.functional.one_hot(labels, 3)),
    }
    metrics = evaluation.measure(seen, context=InMemoryContext()).metrics

    assert {name: pytest.approx(expected[name], rel=1e-5) for name in metrics} == metrics


@pytest.mark.parametrize("factory", [leep, h_score, logme])
def test_attack_changes_the_estimate(
    seen: EvaluationInputs, factory: Callable[..., Evaluation]
) -> None:
    context = InMemoryContext()
    plain, attacked = (
        factory(attack=attack).measure(seen, context=context).metrics
        for attack in (None, LabelFreePgd(eps=0.2, steps=5))
    )

    assert plain.keys() == attacked.keys()
    assert plain != attacked


def test_estimators_share_the_sources_activations(seen: EvaluationInputs) -> None:
    context = InMemoryContext()
    for evaluation in (leep(), h_score(), logme()):
        evaluation.measure(seen, context=context)

    assert ["source activations"] == [what for what, _ in context.built]


def test_logme_takes_values(seen: EvaluationInputs, labelled: Callable[..., ArraySamples]) -> None:
    values = torch.randn(70, 3, generator=stream_generator("values"))
    train = labelled(values, task="values", bounds=None)
    source = cast(BlockNetwork, seen.source)
    with torch.no_grad():
        features = source.features(train.inputs(torch.arange(70)))
    metrics = logme().measure(replace(seen, train=train), context=InMemoryContext()).metrics

    assert log_me_score(features, values) == pytest.approx(metrics["logme"])


@pytest.mark.parametrize("factory", [leep, h_score, logme])
def test_labels_of_one_class_are_inapplicable(
    seen: EvaluationInputs,
    labelled: Callable[..., ArraySamples],
    factory: Callable[..., Evaluation],
) -> None:
    train = labelled(torch.ones(9, dtype=torch.int64))

    with pytest.raises(Inapplicable, match="all 9 samples are of one"):
        factory().measure(replace(seen, train=train), context=InMemoryContext())


def test_h_score_with_as_many_features_as_samples_is_inapplicable(
    seen: EvaluationInputs, labelled: Callable[..., ArraySamples]
) -> None:
    train = labelled(torch.arange(10) % 3)

    with pytest.raises(Inapplicable, match="10 samples vary in 9"):
        h_score().measure(replace(seen, train=train), context=InMemoryContext())


def test_leep_needs_a_source_of_classes(
    seen: EvaluationInputs, network: Callable[..., BlockNetwork]
) -> None:
    with pytest.raises(Inapplicable, match="one output"):
        leep().measure(
            replace(seen, source=network("source", outputs=1)), context=InMemoryContext()
        )


@pytest.mark.parametrize(("count", "width"), [(30, 300), (40, 8)])
def test_estimates_are_invariant_to_the_scale_of_features(count: int, width: int) -> None:
    features, labels = rows("scaled", count, width).relu(), torch.arange(count) % 3
    features[:, :3] += torch.nn.functional.one_hot(labels, 3)
    classes = torch.nn.functional.one_hot(labels, 3).double()
    explained, apart = (
        log_me_score(features, classes),
        h_score_and_rank(features, labels, cutoff=1e-6),
    )

    for scale in (1e-100, 1e-12, 1e-6, 1e-3, 1e3, 1e6, 1e12, 1e100):
        assert explained == pytest.approx(log_me_score(scale * features, classes), rel=1e-8)
        assert apart.score == pytest.approx(
            h_score_and_rank(scale * features, labels, cutoff=1e-6).score, rel=1e-8
        )


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e12])
def test_scaling_the_values_shifts_logme_by_the_logarithm(scale: float) -> None:
    features, values = rows("features", 40, 60), rows("values", 40, 2)

    assert log_me_score(features, values) - math.log(scale) == pytest.approx(
        log_me_score(features, scale * values), rel=1e-8
    )


def test_constant_features_have_no_direction_in_the_h_score() -> None:
    labels = torch.arange(30) % 3
    h_score_result = h_score_and_rank(torch.full((30, 20), 0.1), labels, cutoff=1e-6)

    assert (0.0, 0) == (h_score_result.score, h_score_result.rank)
    assert math.isfinite(
        log_me_score(torch.full((30, 20), 0.1), torch.nn.functional.one_hot(labels, 3))
    )
