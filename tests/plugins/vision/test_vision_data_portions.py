from __future__ import annotations

import os
from itertools import pairwise

import pytest
import torch

from advtransfer.host import Host
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.views import view_dataset
from advtransfer.types import Dataset, Json
from advtransfer_vision.components import datasets

TOY = toy(train=60)


def _keys(dataset: Dataset) -> set[int]:
    return set(dataset.part("train").keys)


def test_portions_side_by_side_have_every_image_once() -> None:
    shares = [0, 0.25, 0.5, 1]
    cut = [datasets.portion(data=TOY, start=a, end=b) for a, b in pairwise(shares)]

    assert [15, 15, 30] == [len(one.part("train")) for one in cut]
    assert set(range(60)) == set[int]().union(*(_keys(one) for one in cut))


def test_every_class_has_its_share_of_each_portion() -> None:
    train = datasets.portion(data=TOY, start=0.3, end=0.7).part("train")

    assert [8, 8, 8] == torch.bincount(train.labels(all_positions(train))).tolist()


def test_a_portion_shows_the_images_of_its_keys_and_the_whole_test_part() -> None:
    cut = datasets.portion(data=TOY, start=0.5)
    train, test = cut.part("train"), cut.part("test")

    assert (
        TOY.part("train").inputs(torch.tensor(train.keys)).equal(train.inputs(all_positions(train)))
    )
    assert TOY.part("test").inputs(torch.arange(30)).equal(test.inputs(all_positions(test)))
    assert list(range(30)) == list(test.keys)


def test_portion_has_its_own_digest_on_every_card() -> None:
    first, second = datasets.portion(data=TOY, end=0.5), datasets.portion(data=TOY, start=0.5)

    assert 3 == len({TOY.card().digest, first.card().digest, second.card().digest})
    assert first.card() == first.part("train").card == first.part("test").card
    assert (TOY.card().shape, TOY.card().names) == (first.card().shape, first.card().names)


def test_views_of_different_portions_are_disjoint_also_where_their_classes_meet() -> None:
    first = view_dataset(datasets.portion(data=TOY, end=0.5), classes=[0, 1])
    second = view_dataset(datasets.portion(data=TOY, start=0.5), classes=[1, 2])

    assert set() == _keys(first) & _keys(second)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (0.5, 0.5, r"found a portion from 0\.5 to 0\.5; expected an end above the start"),
        (
            0,
            0.03,
            r"found a portion from 0 to 0\.03 with 2 of 60 images; expected at least one of each class",
        ),
    ],
)
def test_a_portion_without_images_of_each_class_is_refused(
    start: float, end: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.portion(data=TOY, start=start, end=end)


@pytest.mark.parametrize("options", [{"start": -0.1}, {"start": 1}, {"end": 0}, {"end": 1.1}])
def test_shares_that_are_none_are_found_without_torch(options: dict[str, Json]) -> None:
    _, faults = Host.discover().component("vision/portion").options.validate(options)

    assert [tuple(options)] == [fault.path for fault in faults]


@pytest.mark.skipif(
    "ADVTRANSFER_DATA" not in os.environ,
    reason="needs MNIST in the folder that ADVTRANSFER_DATA names",
)
def test_portions_of_mnist_are_disjoint_and_keep_its_shares_of_digits() -> None:
    mnist = datasets.torchvision(name="MNIST")
    cut = [datasets.portion(data=mnist, end=0.1), datasets.portion(data=mnist, start=0.9)]
    whole = torch.bincount(mnist.part("train").labels(torch.arange(60_000)))

    assert set() == _keys(cut[0]) & _keys(cut[1])
    for one in cut:
        train = one.part("train")

        assert 6000 == len(train)
        assert (torch.bincount(train.labels(all_positions(train))) - whole / 10).abs().max() <= 2
