"""Leaks planted between real sets are found and counted to the image, beside those that the sets have of themselves."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.leakage import find_leaks
from advtransfer.types import DataCard

REAL_DATA = os.environ.get("ADVTRANSFER_DATA", "")
NAMES = ["MNIST", "FashionMNIST", "CIFAR10_subset"]
SEARCHED, LOOKED_FOR, PLANTED = 10_000, 2_000, 100

pytestmark = pytest.mark.skipif(
    not REAL_DATA,
    reason="ADVTRANSFER_DATA is not set: it names the folder with MNIST, FashionMNIST and CIFAR10_subset",
)


def _pixels(name: str, part: str) -> Tensor:
    """``(N, C, H, W)`` uint8."""
    if name == "CIFAR10_subset":
        with np.load(Path(REAL_DATA) / name / "cifar10_10k_2k.npz") as arrays:
            return torch.from_numpy(
                arrays["x_train" if part == "train" else "x_test"].transpose(0, 3, 1, 2).copy()
            )
    file = (
        Path(REAL_DATA)
        / name
        / "raw"
        / f"{'train' if part == 'train' else 't10k'}-images-idx3-ubyte.gz"
    )
    return torch.from_numpy(
        np.frombuffer(bytearray(gzip.decompress(file.read_bytes())[16:]), np.uint8)
    ).view(-1, 1, 28, 28)


def _samples(pixels: Tensor) -> ArraySamples:
    card = DataCard(tuple(pixels.shape[1:]), (0.0, 1.0), "classes", 1, ("any",), "")
    return ArraySamples(
        card=card, inputs=pixels, labels=torch.zeros(len(pixels), dtype=torch.int64)
    )


def _saved(pixels: Tensor, quality: int, subsampling: int) -> Tensor:
    array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality, subsampling=subsampling)
    saved = np.array(Image.open(file))
    return torch.from_numpy(saved[None] if saved.ndim == 2 else saved.transpose(2, 0, 1))


SHIFTS = [(0, 1), (1, 0), (-1, 1), (-1, -1), (0, -1)]
KINDS: list[Callable[[Tensor, int], Tensor]] = [
    lambda image, number: image,
    lambda image, number: image.roll(SHIFTS[number % 5], (1, 2)),
    lambda image, number: _saved(image, 75, number % 3),
    lambda image, number: _saved(image, 90, number % 3),
    lambda image, number: _saved(image.roll(1, 1), 80, 2),
]


@pytest.mark.parametrize("name", NAMES)
def test_planted_leaks_are_counted_to_the_image(name: str) -> None:
    train, test = _pixels(name, "train")[:SEARCHED], _pixels(name, "test")[:LOOKED_FOR]
    own = find_leaks(_samples(train), _samples(test))
    source = torch.Generator().manual_seed(0)
    count = PLANTED * len(KINDS)
    here = torch.randperm(len(train), generator=source)[:count].tolist()
    free = sorted(set(range(len(test))) - {there for _, there in own.pairs})
    there = [free[place] for place in torch.randperm(len(free), generator=source)[:count].tolist()]
    for number, (origin, place) in enumerate(zip(here, there, strict=True)):
        test[place] = KINDS[number % len(KINDS)](train[origin], number // len(KINDS))
    found = find_leaks(_samples(train), _samples(test))

    assert (0, 0) == (own.exact, own.near)
    assert own.exact + PLANTED == found.exact
    assert own.near + (len(KINDS) - 1) * PLANTED == found.near
    assert set(zip(here, there, strict=True)) == set(found.pairs) - set(own.pairs)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "near"), [("MNIST", 0), ("FashionMNIST", 12)])
def test_known_data_sets_have_known_leaks(name: str, near: int) -> None:
    found = find_leaks(_samples(_pixels(name, "train")), _samples(_pixels(name, "test")))

    # the twelve are photographs of garments that are in both parts, looked at one by one
    assert (0, near) == (found.exact, found.near)
