"""Draws that are keyed by sample: Philox's published words, independence, and equal bits for every batch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.rng import keyed_uniform, philox, stream_seed

ALL_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ALL_ONES,) * 4, (ALL_ONES,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, int], words: str
) -> None:
    drawn = philox([np.array([word], dtype=np.uint64) for word in counter], key)

    assert words == " ".join(f"{int(word[0]):08x}" for word in drawn)


def test_a_number_is_the_upper_24_bits_of_its_word() -> None:
    # Counter (block, 0, lower and upper half of the key); key (lower and upper half of the stream).
    stream, key = 0x299F31D0A4093822, 2**40 + 7
    counters = [np.array([word], dtype=np.uint64) for word in (1, 0, 7, 2**8)]
    words = [int(word[0]) for word in philox(counters, (0xA4093822, 0x299F31D0))]

    second_block = keyed_uniform(stream, [key], (8,))[0, 4:]

    assert [word >> 8 for word in words] == (second_block.double() * 2**24).tolist()


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 7), (0,)])
def test_the_numbers_have_the_shape_asked_for(shape: tuple[int, ...]) -> None:
    drawn = keyed_uniform(1, [4, 2], shape)

    assert (2, *shape) == drawn.shape
    assert torch.float32 == drawn.dtype
    assert (0, *shape) == keyed_uniform(1, [], shape).shape


def test_a_sample_draws_the_same_in_every_batch_and_order() -> None:
    # Enough numbers that the draw is made in several pieces.
    together = keyed_uniform(3, range(300), (3, 16, 16))

    for keys in ([7], [299, 7, 0], list(reversed(range(300)))):
        assert keyed_uniform(3, keys, (3, 16, 16)).equal(together[keys])


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    assert keyed_uniform(3, [1, 2], (10,))[:, :6].equal(keyed_uniform(3, [1, 2], (6,)))


def test_the_context_keys_its_draws_by_stream_sample_restart_and_step() -> None:
    context = InMemoryContext(seed=5)

    drawn = context.uniform("attack", [8], (4,), restart=1, step=2)

    assert drawn.equal(keyed_uniform(stream_seed("test context", 5, "attack", 1, 2), [8], (4,)))
    others = [
        InMemoryContext(seed=6).uniform("attack", [8], (4,), restart=1, step=2),
        context.uniform("noise", [8], (4,), restart=1, step=2),
        context.uniform("attack", [9], (4,), restart=1, step=2),
        context.uniform("attack", [8], (4,), restart=2, step=2),
        context.uniform("attack", [8], (4,), restart=1, step=1),
        context.uniform("attack", [8], (4,), restart=2, step=1),
    ]
    assert not any(drawn.equal(other) for other in others)


def _uniform_p(values: Tensor) -> float:
    """Return the distance of the values from a uniform distribution, in units of Kolmogorov's limit."""
    ordered = values.flatten().double().sort().values
    ranks = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    distance = (ordered - ranks).abs().max() + 1 / len(ordered)
    return float(distance * math.sqrt(len(ordered)))


def test_the_numbers_are_uniform() -> None:
    drawn = keyed_uniform(11, range(100), (1000,))

    # Kolmogorov's distribution exceeds 1.95 with a probability of .001.
    assert _uniform_p(drawn) < 1.95
    assert 0 <= drawn.min() < 1e-3
    assert 1 - 1e-3 < drawn.max() < 1
    counts = torch.bincount((drawn.flatten() * 256).long(), minlength=256).double()
    expected = drawn.numel() / 256
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    # 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert 255 - 4 * 22.6 < chi_squared < 255 + 4 * 22.6


def test_draws_of_neighbouring_keys_restarts_steps_and_places_are_independent() -> None:
    context = InMemoryContext(seed=0)
    count = 20_000
    pairs = itertools.product(range(2), range(2))
    draws = [
        context.uniform("attack", keys, (count,), restart=restart, step=step)
        for keys in ([0, 1],)
        for restart, step in pairs
    ]
    rows = torch.cat(draws).double()
    rows = torch.cat([rows, rows[:1].roll(1, 1), rows[:1].roll(4, 1)])

    correlations = torch.corrcoef(rows)

    off_diagonal = correlations[~torch.eye(len(rows), dtype=torch.bool)].abs()
    # The standard deviation of a correlation of independent draws is 1 / sqrt(count).
    assert off_diagonal.max() < 4.5 / math.sqrt(count)
