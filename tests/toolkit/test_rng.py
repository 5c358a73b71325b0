from __future__ import annotations

import hashlib

import torch
from torch import nn

from advtransfer.toolkit.rng import (
    build_initialized,
    fork_global_rng,
    stream_generator,
    stream_seed,
)


def _dropped() -> torch.Tensor:
    return nn.functional.dropout(torch.ones(100))


def test_the_seed_is_63_bits_of_the_sha256_of_canonical_json() -> None:
    first_64_bits = int(hashlib.sha256(b'["subset",7]').hexdigest()[:16], 16)

    assert first_64_bits // 2 == stream_seed("subset", 7)


def test_a_number_and_its_text_are_different_parts() -> None:
    assert stream_seed("a", 1) != stream_seed("a", "1")


def test_a_stream_starts_with_the_same_numbers_every_time() -> None:
    first = torch.rand(5, generator=stream_generator("a", 1))
    torch.rand(5, generator=stream_generator("b", 2))

    assert first.equal(torch.rand(5, generator=stream_generator("a", 1)))


def test_streams_of_different_names_or_keys_differ() -> None:
    drawn = {
        torch.rand(1, generator=stream_generator(*parts)).item()
        for parts in (("a", 1), ("a", 2), ("b", 1), ("a",))
    }

    assert 4 == len(drawn)


def test_the_global_random_state_is_seeded_and_restored() -> None:
    before = torch.get_rng_state()
    with fork_global_rng(stream_generator("dropout")):
        first = _dropped()
    with fork_global_rng(stream_generator("dropout")):
        second = _dropped()

    assert first.equal(second)
    assert before.equal(torch.get_rng_state())


def test_initial_weights_depend_on_the_generator_alone() -> None:
    first = build_initialized(lambda: nn.Linear(3, 2), stream_generator("init", 0))
    torch.rand(1)
    again = build_initialized(lambda: nn.Linear(3, 2), stream_generator("init", 0))
    other = build_initialized(lambda: nn.Linear(3, 2), stream_generator("init", 1))

    assert first.weight.equal(again.weight)
    assert not first.weight.equal(other.weight)
