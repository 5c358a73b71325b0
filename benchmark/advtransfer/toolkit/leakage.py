"""Images of one set that also occur in another: pixel for pixel, or as a near-duplicate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from advtransfer.toolkit.near_duplicates import (
    NearDuplicateRule,
    NearDuplicateSearch,
    is_image,
    pixel_levels,
    position_chunks,
)
from advtransfer.types import Samples


@dataclass(frozen=True, slots=True)
class Leaks:
    """Images of the second set that also occur in the first.

    Attributes:
        exact: The number that occur pixel for pixel.
        near: The number of the others that have a near-duplicate.
        pairs: One pair (position in the first set, position in the second set) for each image of
            either kind, sorted by the position in the second set.
    """

    exact: int
    near: int
    pairs: tuple[tuple[int, int], ...]


def find_leaks(
    a: Samples,
    b: Samples,
    *,
    likeness: NearDuplicateRule = NearDuplicateRule(),  # noqa: B008  # frozen: safe
) -> Leaks:
    """Find the images of `b` that occur in `a`; both are read in chunks and never held whole.

    Samples that are not images of bounded pixels are compared value for value only.

    Args:
        a: The set that is searched, such as training data.
        b: The set whose images are looked up, such as a test part.
        likeness: The rule for near-duplicates.
    """
    positions: dict[bytes, int] = {}
    for position, sample_hash in enumerate(_hash_samples(a)):
        # Of equal images the first one counts.
        positions.setdefault(sample_hash, position)
    exact: dict[int, int] = {}
    for position, sample_hash in enumerate(_hash_samples(b)):
        if sample_hash in positions:
            exact[position] = positions[sample_hash]
    near: dict[int, int] = {}
    if is_image(a.card) and is_image(b.card):
        near = _find_near(a, b, exact, likeness)
    pairs = sorted({**near, **exact}.items())
    return Leaks(len(exact), len(near), tuple((in_a, in_b) for in_b, in_a in pairs))


def _find_near(
    a: Samples, b: Samples, exact: dict[int, int], likeness: NearDuplicateRule
) -> dict[int, int]:
    """Return the position in `a` for each position of `b` that has only a near-duplicate there."""
    remaining = torch.tensor(
        [position for position in range(len(b)) if position not in exact], dtype=torch.int64
    )
    if not len(a) or not len(remaining):
        return {}
    search = NearDuplicateSearch.over_samples(a, b, likeness)
    near: dict[int, int] = {}
    for positions in position_chunks(remaining, b.card):
        for row, position in search.find_matches(search.grayscale(b, positions)).items():
            near[int(positions[row])] = position
    return near


def _hash_samples(samples: Samples) -> Iterator[bytes]:
    """Yield a hash of each sample's shape and 8-bit pixels, or of its values if it is no image."""
    shape_bytes = repr(samples.card.shape).encode()
    for positions in position_chunks(torch.arange(len(samples)), samples.card):
        values = samples.inputs(positions)
        if is_image(samples.card):
            # 8-bit levels, so that the rounding of float32 does not tell equal images apart.
            values = pixel_levels(values, samples.card).to(torch.uint8)
        for sample in values.contiguous().numpy():
            yield hashlib.blake2b(shape_bytes + sample.tobytes(), digest_size=16).digest()
