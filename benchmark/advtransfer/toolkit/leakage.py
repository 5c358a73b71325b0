"""Images of one set that are also in another.

Pixel for pixel, or shifted by a pixel, or saved again as JPEG.
"""

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
    """Images of the second set that are in the first.

    Attributes:
        exact: How many are there pixel for pixel.
        near: How many of the others are nearly there.
        pairs: For each of both kinds, (position in the first set, position in the second), by the latter.
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
    """Which images of `b` are in `a`; both are read in chunks, and never held as a whole.

    Samples that are not images of bounded pixels are compared value for value only.

    Args:
        a: The set that is searched, such as training data.
        b: The set whose images are looked for, such as a test part.
        likeness: What counts as near.
    """
    positions: dict[bytes, int] = {}
    for position, fingerprint in enumerate(_hash_samples(a)):
        positions.setdefault(fingerprint, position)
    exact = {
        there: positions[one] for there, one in enumerate(_hash_samples(b)) if one in positions
    }
    near = _find_near(a, b, exact, likeness) if is_image(a.card) and is_image(b.card) else {}
    pairs = sorted({**near, **exact}.items())
    return Leaks(len(exact), len(near), tuple((here, there) for there, here in pairs))


def _find_near(
    a: Samples, b: Samples, exact: dict[int, int], likeness: NearDuplicateRule
) -> dict[int, int]:
    """The position in `a` for each position of `b` that is nearly there and not exactly."""
    rest = torch.tensor(
        [position for position in range(len(b)) if position not in exact], dtype=torch.int64
    )
    if not len(a) or not len(rest):
        return {}
    search = NearDuplicateSearch.over_samples(a, b, likeness)
    found: dict[int, int] = {}
    for positions in position_chunks(rest, b.card):
        for row, here in search.find_matches(search.grayscale(b, positions)).items():
            found[int(positions[row])] = here
    return found


def _hash_samples(samples: Samples) -> Iterator[bytes]:
    """A hash of each sample's shape and 8-bit pixels; of its values where it is not an image."""
    image = is_image(samples.card)
    head = repr(samples.card.shape).encode()
    for positions in position_chunks(torch.arange(len(samples)), samples.card):
        inputs = samples.inputs(positions)
        values = pixel_levels(inputs, samples.card).to(torch.uint8) if image else inputs
        for one in values.contiguous().numpy():
            yield hashlib.blake2b(head + one.tobytes(), digest_size=16).digest()
