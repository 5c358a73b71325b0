from __future__ import annotations

import pytest
import torch
from torch import Tensor

from advtransfer.toolkit.datasets import ArraySamples, BoundedSamples, require_unit_bounds
from advtransfer.types import DataCard


def samples(inputs: Tensor, bounds: tuple[float, float] | None = (0.0, 1.0)) -> ArraySamples:
    card = DataCard(tuple(inputs.shape[1:]), bounds, "classes", 2, ("a", "b"), "")
    return ArraySamples(
        card=card,
        inputs=inputs,
        labels=torch.arange(len(inputs)) % 2,
        keys=range(10, 10 + len(inputs)),
    )


def test_inputs_within_the_bounds_are_returned_unchanged() -> None:
    inner = samples(torch.tensor([[0.0], [0.5], [1.0]]))
    found, positions = BoundedSamples(inner), torch.tensor([2, 0])

    assert inner.card is found.card
    assert [10, 11, 12] == list(found.keys)
    assert 3 == len(found)
    assert [[1.0], [0.0]] == found.inputs(positions).tolist()
    assert [0, 0] == found.labels(positions).tolist()


@pytest.mark.parametrize("value", [-1e-6, 1.001, torch.nan, torch.inf])
def test_a_pixel_outside_is_refused_when_it_is_read(value: float) -> None:
    found = BoundedSamples(samples(torch.tensor([[0.5], [value]])))

    assert [[0.5]] == found.inputs(torch.tensor([0])).tolist()
    with pytest.raises(
        ValueError,
        match=r"found pixels from .*; expected 0 to 1, the bounds on the card; correct the",
    ):
        found.inputs(torch.tensor([0, 1]))


def test_the_bounds_are_those_on_the_card() -> None:
    inputs = torch.tensor([[-1.0], [2.0]])

    assert inputs.equal(BoundedSamples(samples(inputs, (-1.0, 2.0))).inputs(torch.arange(2)))
    assert inputs.equal(BoundedSamples(samples(inputs, None)).inputs(torch.arange(2)))
    with pytest.raises(ValueError, match="pixels from -1 to 2; expected -1 to 1,"):
        BoundedSamples(samples(inputs, (-1.0, 1.0))).inputs(torch.arange(2))


def test_an_empty_batch_is_within_the_bounds() -> None:
    assert (0, 1) == BoundedSamples(samples(torch.zeros(2, 1))).inputs(
        torch.tensor([], dtype=torch.int64)
    ).shape


def test_samples_with_unit_bounds_are_accepted() -> None:
    inner = samples(torch.ones(2, 1))

    assert inner is require_unit_bounds(inner).samples


@pytest.mark.parametrize("bounds", [None, (0.0, 255.0), (-1.0, 1.0)])
def test_samples_with_other_bounds_than_the_unit_are_refused(
    bounds: tuple[float, float] | None,
) -> None:
    with pytest.raises(ValueError, match=r"expected \(0\.0, 1\.0\), in which eps counts; rescale"):
        require_unit_bounds(samples(torch.zeros(2, 1), bounds))
