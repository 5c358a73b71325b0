"""Correlation of alpha_1 with the transferred model's loss, image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import EvaluationInputs, Measurement
from advtransfer_alignment.components import alignment, per_image, transfer_loss
from advtransfer_alignment.image_correlation import average_ranks, pearson_correlation
from advtransfer_alignment.options import LabelFreePgd

ATTACK = LabelFreePgd(eps=0.1, steps=3)


@pytest.fixture
def transferred_inputs(
    evaluation_inputs: EvaluationInputs, network: Callable[..., BlockNetwork]
) -> EvaluationInputs:
    return replace(evaluation_inputs, model=network("transferred"))


def measure(given: EvaluationInputs) -> Measurement:
    return per_image(attack=ATTACK).measure(given, context=InMemoryContext())


def test_ranks_and_coefficients_equal_scipys() -> None:
    first = torch.randint(0, 9, (60,), generator=stream_generator("first")).double()
    second = torch.randn(60, generator=stream_generator("second"), dtype=torch.float64)

    assert np.array_equal(stats.rankdata(first.numpy()), average_ranks(first).numpy())
    assert stats.pearsonr(first, second).statistic == pytest.approx(
        pearson_correlation(first, second)
    )
    assert pearson_correlation(torch.ones(3).double(), second[:3]) is None


def test_arrays_are_those_of_alignment_and_transfer_loss(
    transferred_inputs: EvaluationInputs,
) -> None:
    found = measure(transferred_inputs)
    aligned = alignment(attack=ATTACK).measure(transferred_inputs, context=InMemoryContext())
    losses = transfer_loss().measure(transferred_inputs, context=InMemoryContext())

    for name in ("alpha_1_st", "alpha_1_ts"):
        assert torch.equal(aligned.samples[name], found.samples[name]), name
        assert aligned.metrics[name] == found.metrics[name]
    assert torch.equal(losses.samples["loss"], found.samples["loss"])


def test_coefficients_are_scipys_of_the_arrays(transferred_inputs: EvaluationInputs) -> None:
    found = measure(transferred_inputs)
    loss = found.samples["loss"].double()
    for direction in ("st", "ts"):
        shares = found.samples[f"alpha_1_{direction}"].double()
        pearson = stats.pearsonr(shares, loss).statistic
        spearman = stats.spearmanr(shares, loss).statistic
        # The arrays are float32.
        assert pearson == pytest.approx(found.metrics[f"pearson_{direction}"], abs=1e-5)
        assert spearman == pytest.approx(found.metrics[f"spearman_{direction}"], abs=1e-3)
        assert found.metrics[f"kept_{direction}"] == 70


def test_a_loss_that_grows_with_alpha_1_has_a_rank_correlation_of_1(
    transferred_inputs: EvaluationInputs,
) -> None:
    """The model's loss is set, image by image, to a rising function of alpha_1."""
    shares = measure(transferred_inputs).samples["alpha_1_st"]
    images = transferred_inputs.test.inputs(torch.arange(70))
    labels = transferred_inputs.test.labels(torch.arange(70))

    class Rising(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            nearest = torch.cdist(inputs.flatten(1), images.flatten(1)).argmin(1)
            own = nn.functional.one_hot(labels[nearest], 3)
            return -shares[nearest].unsqueeze(1) * own

    metrics = measure(replace(transferred_inputs, model=Rising().eval())).metrics

    assert 1 == pytest.approx(metrics["spearman_st"])
    assert 0.9 < metrics["pearson_st"] <= 1


def test_the_reference_as_source_has_no_correlation(transferred_inputs: EvaluationInputs) -> None:
    """alpha_1 is 1 at every image, so that nothing is left to correlate."""
    metrics = measure(replace(transferred_inputs, source=transferred_inputs.reference)).metrics

    assert 1 == pytest.approx(metrics["alpha_1_st"])
    assert not {"pearson_st", "spearman_ts"} & set(metrics)


def test_a_model_is_needed(evaluation_inputs: EvaluationInputs) -> None:
    with pytest.raises(ValueError, match="found no model; expected the transferred model"):
        measure(evaluation_inputs)
