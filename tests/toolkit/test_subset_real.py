"""Draws from the labels of real sets, held to the words of the rule for n from one image a class to all."""

from __future__ import annotations

import gzip
import os
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from advtransfer.toolkit.subset import SubsetRule, draw_subset

REAL_DATA = os.environ.get("ADVTRANSFER_DATA", "")
NAMES = ["MNIST", "FashionMNIST", "CIFAR10_subset"]
# FashionMNIST has as many images of each class, as has CIFAR10_subset: its 60,000 are for slow runs.
DRAWN = ["MNIST", pytest.param("FashionMNIST", marks=pytest.mark.slow), "CIFAR10_subset"]
CLASSES = 10
SEED = 20_000_000  # the first of Utrera et al., 2021

pytestmark = pytest.mark.skipif(
    not REAL_DATA,
    reason="ADVTRANSFER_DATA is not set: it names the folder with MNIST, FashionMNIST and CIFAR10_subset",
)


@cache
def _labels(name: str) -> Tensor:
    if name == "CIFAR10_subset":
        with np.load(Path(REAL_DATA) / name / "cifar10_10k_2k.npz") as arrays:
            return torch.from_numpy(arrays["y_train"].copy())
    file = Path(REAL_DATA) / name / "raw" / "train-labels-idx1-ubyte.gz"
    return torch.from_numpy(
        np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=8).astype(np.int64)
    )


def _sizes(count: int) -> list[int]:
    """One image a class, the next, three of the paper's sizes, a random one, all but one, all."""
    paper = [100, 1600, 25600]
    between = random.Random(0).randrange(CLASSES, count)
    every = {CLASSES, CLASSES + 1, *paper, between, count - 1, count}
    return sorted(n for n in every if n <= count)


@cache
def _shuffled(count: int) -> list[int]:
    order = list(range(count))
    random.Random(SEED).shuffle(order)
    return order


def _scanned(labels: list[int], n: int) -> set[int]:
    """The rule of the paper's code: accept while the budget exceeds the classes unseen, or an image of a new class."""
    accepted: set[int] = set()
    unseen = set(labels)
    for index in _shuffled(len(labels)):
        if len(accepted) == n:
            break
        if n - len(accepted) > len(unseen) or labels[index] in unseen:
            accepted.add(index)
            unseen.discard(labels[index])
    return accepted


@pytest.mark.parametrize("rule", ["uniform", "utrera2021"])
@pytest.mark.parametrize("name", DRAWN)
def test_every_size_has_its_images_every_class_and_those_of_the_size_before(
    name: str, rule: SubsetRule
) -> None:
    labels, before = _labels(name), set[int]()
    for n in _sizes(len(labels)):
        drawn = draw_subset(labels, n=n, validation=0, seed_parts=(name, SEED), rule=rule).train
        now = set(drawn.tolist())

        assert n == len(drawn) == len(now)
        assert CLASSES == len(set(labels[drawn].tolist()))
        assert before <= now
        before = now


@pytest.mark.parametrize("name", DRAWN)
def test_the_rule_of_the_paper_draws_what_its_scan_accepts(name: str) -> None:
    labels = _labels(name)
    for n in _sizes(len(labels)):
        drawn = draw_subset(labels, n=n, validation=0, seed_parts=(SEED,), rule="utrera2021").train

        assert _scanned(labels.tolist(), n) == set(drawn.tolist())


@pytest.mark.parametrize("rule", ["uniform", "utrera2021"])
@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_size_is_one_image_of_each_class_and_one_less_is_refused(
    name: str, rule: SubsetRule
) -> None:
    labels = _labels(name)
    drawn = draw_subset(labels, n=CLASSES, validation=0, seed_parts=(SEED,), rule=rule).train

    assert list(range(CLASSES)) == sorted(labels[drawn].tolist())
    with pytest.raises(ValueError, match="at least one training image for each of 10 classes"):
        draw_subset(labels, n=CLASSES - 1, validation=0, seed_parts=(SEED,), rule=rule)


@pytest.mark.parametrize("name", NAMES)
def test_validation_and_training_images_are_apart(name: str) -> None:
    labels = _labels(name)
    for n in (20, 400, len(labels)):
        drawn = draw_subset(labels, n=n, validation=0.1, seed_parts=(name, 0))
        train, validation = set(drawn.train.tolist()), set(drawn.validation.tolist())

        assert not train & validation
        assert (n, round(0.1 * n)) == (len(train | validation), len(validation))
