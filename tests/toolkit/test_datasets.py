from __future__ import annotations

import pytest
import torch

from advtransfer.toolkit.datasets import (
    ArrayDataset,
    ArraySamples,
    SampleSubset,
    all_positions,
    content_digest,
)
from advtransfer.types import DataCard, Dataset, Samples

CARD = DataCard((1, 1, 2), (0.0, 1.0), "classes", 3, ("a", "b", "c"), "digest")


def _arrays() -> ArraySamples:
    inputs = torch.tensor([[0, 51], [102, 153], [204, 255]], dtype=torch.uint8).reshape(3, 1, 1, 2)
    return ArraySamples(card=CARD, inputs=inputs, labels=torch.tensor([2, 0, 1]), keys=[7, 8, 9])


def _dataset(labels: tuple[int, ...] = (0, 1), names: tuple[str, ...] = ("a", "b")) -> ArrayDataset:
    inputs = torch.tensor([[0.0, 0.5], [1.0, 0.25]]).reshape(2, 1, 1, 2)
    return ArrayDataset({"train": (inputs, torch.tensor(labels))}, names=names)


def test_uint8_inputs_are_returned_as_floats_from_0_to_1() -> None:
    returned = _arrays().inputs(torch.tensor([2, 0]))

    assert torch.float32 == returned.dtype
    assert [[4 / 5, 1.0], [0.0, 1 / 5]] == pytest.approx(returned.flatten(1).numpy())


def test_float_inputs_are_returned_unchanged() -> None:
    samples: Samples = _dataset().part("train")

    assert [1.0, 0.25] == samples.inputs(torch.tensor([1])).flatten().tolist()


def test_keys_are_positions_unless_given() -> None:
    assert [0, 1] == list(_dataset().part("train").keys)
    assert [7, 8, 9] == list(_arrays().keys)


def test_a_subset_keeps_its_order_and_the_keys() -> None:
    picked: Samples = SampleSubset(_arrays(), torch.tensor([2, 0]))

    assert 2 == len(picked)
    assert [9, 7] == list(picked.keys)
    assert [1, 2] == picked.labels(all_positions(picked)).tolist()
    assert [0.8, 1.0] == pytest.approx(picked.inputs(torch.tensor([0])).flatten().numpy())


def test_a_subset_of_a_subset_is_a_subset() -> None:
    picked = SampleSubset(SampleSubset(_arrays(), torch.tensor([2, 1])), torch.tensor([1]))

    assert [8] == list(picked.keys)
    assert [0] == picked.labels(all_positions(picked)).tolist()


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.zeros(3, 1, 1, 2), torch.zeros(2), "found 3 inputs, 2 labels and 3 keys"),
        (
            torch.zeros(2, 2, 1, 2),
            torch.zeros(2),
            r"found inputs of shape \(2, 1, 2\); expected \(1, 1, 2\)",
        ),
        (torch.zeros(2, 1, 1, 2).double(), torch.zeros(2), "found inputs of type torch.float64"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(
    inputs: torch.Tensor, labels: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ArraySamples(card=CARD, inputs=inputs, labels=labels)


def test_a_data_set_describes_its_parts() -> None:
    dataset: Dataset = _dataset()
    card = dataset.card()

    assert ((1, 1, 2), (0.0, 1.0), "classes", 2, ("a", "b")) == (
        card.shape,
        card.bounds,
        card.task,
        card.outputs,
        card.names,
    )
    assert card == dataset.part("train").card


def test_a_part_that_does_not_exist_is_an_error_that_lists_the_parts() -> None:
    with pytest.raises(ValueError, match=r"found part 'test'; expected one of \['train'\]"):
        _dataset().part("test")


def test_the_digest_depends_on_content_labels_names_and_order() -> None:
    inputs, labels, names = torch.arange(4.0).reshape(2, 1, 1, 2), torch.tensor([0, 1]), ["a", "b"]
    digests = {
        content_digest(inputs, labels, names),
        content_digest(inputs + 1, labels, names),
        content_digest(inputs, labels.flip(0), names),
        content_digest(inputs.flip(0), labels.flip(0), names),
        content_digest(inputs, labels, ["b", "a"]),
        content_digest(inputs.reshape(2, 1, 2, 1), labels, names),
        content_digest(inputs.to(torch.uint8), labels, names),
    }

    assert 7 == len(digests)


def test_the_digest_does_not_depend_on_memory_layout() -> None:
    inputs, labels = torch.rand(3, 2, 4, 4, generator=torch.Generator()), torch.arange(3)
    other = inputs.to(memory_format=torch.channels_last)

    assert content_digest(inputs, labels, "abc") == content_digest(other, labels.clone(), "abc")
    assert _dataset().card().digest == _dataset().card().digest
    assert _dataset().card().digest != _dataset(labels=(1, 0)).card().digest
