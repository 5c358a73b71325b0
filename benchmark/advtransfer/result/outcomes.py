"""Outcomes of samples as sets, so that large runs are folded and counted by a few operations on integers.

A set of samples is one integer: the sample at position p of the test part is in it if bit 2 p is set. Records
pack an outcome into two bits, so a set is read from them by a mask, and 1,000 samples are compared at once.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    OutcomeArray: TypeAlias = npt.NDArray[np.uint8]
    """Values of `Outcome` in test order, ``(N,)``."""
    FloatArray: TypeAlias = npt.NDArray[np.float64]
    Value = TypeVar("Value", bound=np.generic)

SampleSet: TypeAlias = int
"""Samples of a test part; the one at position p is in it if bit 2 p is set. Their number is `bit_count()`."""


class Share(NamedTuple):
    """A share of test images: unknown outcomes count as broken in `low`, as robust in `high`."""

    low: float
    high: float
    of: int


class SampleOutcomes(NamedTuple):
    """The outcome of each sample of a test part: `broken`, `wrong`, `unknown`, or else robust.

    Attributes:
        broken: Samples that are broken.
        wrong: Samples that are misclassified without an attack.
        unknown: Samples without a valid outcome.
        of: Number of samples.
    """

    broken: SampleSet
    wrong: SampleSet
    unknown: SampleSet
    of: int

    @property
    def robust(self) -> SampleSet:
        """Samples that are robust."""
        return all_samples(self.of) & ~(self.broken | self.wrong | self.unknown)

    @property
    def share(self) -> Share:
        """The share of robust samples."""
        unknown = self.unknown.bit_count()
        robust = self.of - self.broken.bit_count() - self.wrong.bit_count() - unknown
        return _share_of(robust, unknown, self.of)

    def with_broken(self, broken: SampleSet) -> SampleOutcomes:
        """Return the outcomes after these samples were broken; a wrong sample stays wrong."""
        broken &= all_samples(self.of) & ~self.wrong
        if not broken & ~self.broken:
            return self
        return SampleOutcomes(self.broken | broken, self.wrong, self.unknown & ~broken, self.of)

    def to_array(self) -> OutcomeArray:
        """Return the outcomes in test order, ``(N,)``."""
        low = self.broken | self.unknown
        high = self.wrong | self.unknown
        return _unpacked_values(low | high << 1, self.of, _outcomes_of_bytes())


@lru_cache(maxsize=4096)
def _share_of(robust: int, unknown: int, of: int) -> Share:
    """Return a share as one object for all results that have it."""
    return Share(robust / of, (robust + unknown) / of, of)


def worst_outcomes(outcomes: Sequence[SampleOutcomes]) -> SampleOutcomes:
    """Return the worst outcome of each sample: wrong, broken, unknown, robust."""
    first, *others = outcomes
    broken, wrong, unknown, of = first
    for other in others:
        broken |= other.broken
        wrong |= other.wrong
        unknown |= other.unknown
    broken &= ~wrong
    return SampleOutcomes(broken, wrong, unknown & ~(broken | wrong), of)


def read_outcomes(packed: Mapping[str, Any]) -> SampleOutcomes:  # Any: JSON of a record
    """Return outcomes that `advtransfer.result.record.pack_outcomes` packed."""
    return _unpacked(str(packed["packed"]), int(packed["of"]))


@lru_cache(maxsize=32)
def _unpacked(packed: str, of: int) -> SampleOutcomes:
    """Unpack outcomes: the fold and the checks of one result read the same ones in turn."""
    data = zlib.decompress(base64.b64decode(packed))
    return _outcomes_of_bits(int.from_bytes(data, "little"), min(of, 4 * len(data)))


def outcomes_from_values(values: OutcomeArray | Sequence[int]) -> SampleOutcomes:
    """Return outcomes that are given as values of `Outcome` in test order, ``(N,)``."""
    return _outcomes_of_bits(_packed_bits(values), len(values))


def _outcomes_of_bits(bits: int, of: int) -> SampleOutcomes:
    """Return outcomes at two bits each, the first sample in the lowest ones."""
    samples = all_samples(of)
    low = bits & samples
    high = bits >> 1 & samples
    # The values of `Outcome`: 1 is broken, 2 is wrong, and 3, with both bits, unknown.
    unknown = low & high
    return SampleOutcomes(low ^ unknown, _shared_set(high ^ unknown), unknown, of)


@lru_cache(maxsize=32)
def _shared_set(samples: SampleSet) -> SampleSet:
    """Return one object for equal sets: all attacks on a model find the same samples wrong without attack."""
    return samples


@lru_cache(maxsize=64)
def all_samples(of: int) -> SampleSet:
    """Return the set of all samples of a test part."""
    samples: SampleSet = (4**of - 1) // 3
    return samples


def samples_at(positions: Sequence[int], of: int) -> SampleSet:
    """Return the set of the samples at some positions of a test part of `of` samples."""
    import numpy as np

    members = np.zeros(of, dtype=np.uint8)
    members[np.asarray(positions, dtype=np.int64)] = 1
    return _packed_bits(members)


def sample_positions(samples: SampleSet) -> list[int]:
    """Return the positions of the samples in a set, ascending."""
    digits = f"{samples:b}"[::-2]
    return [position for position, digit in enumerate(digits) if digit == "1"]


def sample_indicator(samples: SampleSet, of: int) -> FloatArray:
    """Return 1 for each sample of a set in test order, and 0 for others, ``(N,)``."""
    return _unpacked_values(samples, of, _members_of_bytes())


def _unpacked_values(bits: int, of: int, values_of_bytes: npt.NDArray[Value]) -> npt.NDArray[Value]:
    """Return the values ``(N,)`` of samples at two bits each, by those of four in each byte ``(256, 4)``."""
    import numpy as np

    packed = np.frombuffer(bits.to_bytes((of + 3) // 4, "little"), dtype=np.uint8)
    return values_of_bytes.take(packed, axis=0).reshape(-1)[:of]


def _packed_bits(values: OutcomeArray | Sequence[int]) -> int:
    """Return values below 4 as an integer of two bits each, the first in the lowest ones."""
    import numpy as np

    quads = np.zeros((len(values) + 3) // 4 * 4, dtype=np.uint8)
    quads[: len(values)] = values
    quads = quads.reshape(-1, 4) << np.array([0, 2, 4, 6], dtype=np.uint8)
    return int.from_bytes(quads.sum(axis=1, dtype=np.uint8).tobytes(), "little")


@cache
def _outcomes_of_bytes() -> OutcomeArray:
    """Return the four outcomes in each byte ``(256, 4)``, two bits each, the lowest bits first."""
    import numpy as np

    bits = np.arange(256, dtype=np.uint8)[:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)
    return (bits & 3).astype(np.uint8)


@cache
def _members_of_bytes() -> FloatArray:
    """Return which of four samples are in the set of each byte ``(256, 4)``, 1 or 0."""
    return (_outcomes_of_bytes() & 1).astype(float)
