from __future__ import annotations

import torch

from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Dataset


def test_the_toy_data_set_has_the_given_sizes() -> None:
    data: Dataset = toy(classes=4, train=9, test=5, shape=(3, 2, 2))

    assert ((3, 2, 2), 4, (0.0, 1.0)) == (
        data.card().shape,
        data.card().outputs,
        data.card().bounds,
    )
    assert [9, 5] == [len(data.part("train")), len(data.part("test"))]
    assert [0, 1, 2, 3, 0] == data.part("test").labels(torch.arange(5)).tolist()


def test_the_nearest_pattern_gives_the_class() -> None:
    data, patterns = toy(noise=0.3), toy(noise=0.0).part("train").inputs(torch.arange(3)).flatten(1)
    part = data.part("test")
    nearest = torch.cdist(part.inputs(all_positions(part)).flatten(1), patterns).argmin(1)

    assert part.labels(all_positions(part)).equal(nearest)


def test_the_seed_determines_the_toy_data_set() -> None:
    assert toy().card() == toy().card()
    assert toy().card().digest != toy(seed=1).card().digest
