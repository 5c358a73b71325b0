"""Which rows may be compared: those whose images the host itself attacked alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from advtransfer.result.evidence import Probe

Row = TypeVar("Row", bound=Hashable)

CHECKED_GROUP, UNCHECKED_GROUP = 0, 1
"""Groups of ranked rows, in order: accuracies without a battery are upper bounds only."""


def combine_probes(probes: Iterable[Probe | None]) -> Probe | None:
    """Return the probe of several numbers shown as one, None without any.

    It covers no image if one of them has no battery.
    """
    present = [probe for probe in probes if probe is not None]
    if not present:
        return None
    of = sum(probe.of for probe in present)
    if not all(probe.count for probe in present):
        return Probe("", 0, of, 0)
    images = sorted({probe.images for probe in present})
    count = sum(probe.count for probe in present)
    return Probe(" ".join(images), count, of, sum(probe.missed for probe in present))


def usual_images(probes: Iterable[Probe | None]) -> str | None:
    """Return which images most batteries behind a column attacked, None without any."""
    probed = [probe for probe in probes if probe is not None and probe.count]
    numbers = Counter(probe.images for probe in probed)
    counts = {probe.images: probe.count for probe in probed}
    # Of equally many rows those with more images; the digest makes the choice unique.
    return max(numbers, key=lambda images: (numbers[images], counts[images], images), default=None)


def is_comparable(probe: Probe | None, usual: str | None) -> bool:
    """Return whether a number rests on the same attacked images as most of its column."""
    return probe is None or (probe.count > 0 and probe.images == usual)


def rank_groups(probes: Mapping[Row, Probe | None]) -> dict[Row, int]:
    """Return the group of each row that is ranked, by its probe.

    Rows whose batteries attacked other images than those of most rows are in none.
    """
    usual = usual_images(probes.values())
    groups = {row: CHECKED_GROUP for row, probe in probes.items() if is_comparable(probe, usual)}
    for row, probe in probes.items():
        if probe is not None and not probe.count:
            groups[row] = UNCHECKED_GROUP
    return groups
