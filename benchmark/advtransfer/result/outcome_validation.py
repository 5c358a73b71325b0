"""Faults of the numbers in a record: packed outcomes, and the shares and intervals that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

from advtransfer.result.bounded_reading import unpack_zlib
from advtransfer.result.record import robust_share, unpack_bits
from advtransfer.types import Outcome

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

SHARE_TOLERANCE = 1e-9
"""Largest difference of a share or interval from the one computed on this machine."""

MAX_SAMPLES = 10**7
"""Largest number of samples of one metric that is unpacked: a small text can unpack to gigabytes."""

FOUR_OUTCOMES = tuple(bytes(unpack_bits(bytes([bits]), 4)) for bits in range(256))
"""The four outcomes that each byte packs; as bytes they take an eighth of a list."""


def number_faults(of: str, values: RecordJson) -> Iterator[str]:
    """Yield a fault for each value that is no finite number."""
    for name, value in values.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            yield f"found {of} {name} {value!r}; expected a finite number"


def share_faults(name: str, metrics: RecordJson, values: Sequence[int]) -> Iterator[str]:
    """Yield where a share differs from the one that its outcomes ``(N,)`` give."""
    if name not in metrics:
        yield f"found no metric {name}; expected that of its outcomes"
        return
    found = metrics[name]
    expected = cast("dict[str, Any]", robust_share(values))  # Any: JSON
    if found.keys() != expected.keys() or any(
        found[key] != expected[key] for key in ("of", "method")
    ):
        yield f"found {name} {found}; expected {expected}, from its outcomes"
        return
    for part in ("value", "low", "high"):
        yield from number_difference(f"{name} {part}", found[part], expected[part])
    yield from interval_difference(f"{name} interval", found["interval"], expected["interval"])


def number_difference(name: str, found: float, expected: float) -> Iterator[str]:
    """Yield a fault if a number is not the one that was computed here."""
    if isinstance(found, bool) or not math.isclose(
        found, expected, rel_tol=SHARE_TOLERANCE, abs_tol=SHARE_TOLERANCE
    ):
        yield f"found {name} {found!r}; expected {expected!r}, from the outcomes"


def interval_difference(
    name: str, found: Sequence[float], expected: Sequence[float]
) -> Iterator[str]:
    """Yield a fault for each end of an interval that is not the one that was computed here."""
    if len(found) != len(expected):
        yield f"found {name} {found}; expected {list(expected)}"
    for found_end, expected_end in zip(found, expected, strict=False):
        yield from number_difference(name, found_end, expected_end)


def unpack_checked(name: str, packed: RecordJson) -> tuple[bytes, list[str]]:
    """Return the packed outcomes and their faults; unpack at most as many as the record states."""
    of = packed["of"]
    if isinstance(of, bool) or not isinstance(of, int) or not 0 < of <= MAX_SAMPLES:
        return b"", [f"found {name} of {of!r} samples; expected a count up to {MAX_SAMPLES:,}"]
    size = -(-of // 4)  # Four outcomes of two bits in a byte, rounded up.
    try:
        bits = unpack_zlib(packed["packed"], size=size)
    except ValueError as error:
        return b"", [f"found outcomes of {name} {error}; expected those of {of} samples"]
    # The padding after the last outcome is compared as well: it must be 0.
    values = b"".join(map(FOUR_OUTCOMES.__getitem__, bits))
    counts = {outcome.name.lower(): values.count(outcome, 0, of) for outcome in Outcome}
    wrong = [
        key
        for key, count in counts.items()
        if packed[key] != count or isinstance(packed[key], bool)
    ]
    if any(values[of:]) or wrong:
        return b"", [
            f"found other counts in the outcomes of {name} than are packed; expected {counts}"
        ]
    return values[:of], []
