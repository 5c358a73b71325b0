"""The ranges of ranks of the rows of a table, group by group, and what the caption says of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.pair_tests import (
    PairDesign,
    PairTests,
    PairUnit,
    RowValues,
    pair_tests,
)
from advtransfer.statistics import (
    FAMILY_LEVEL,
    RankRange,
    SeparationNeed,
    detectable_difference,
    first_holm_level,
    rank_ranges,
    separated_pairs,
    separation_need,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The first two rows of a group, one after the other, that are not told apart.

    Attributes:
        place: Place of the upper row in the table, from 1; the other is the next.
        difference: By how much the upper row is better, if unknown outcomes count against it; 0 if it is then not.
        unit: The unit of their difference.
        unit_count: Units that they have.
        image_count: Test images that they have, 0 without outcomes of images.
        need: Units and images that would separate them; None if they cannot be tested.
    """

    place: int
    difference: float
    unit: PairUnit
    unit_count: int
    image_count: int
    need: SeparationNeed | None


@dataclass(frozen=True, slots=True)
class RankGroup:
    """Rows that are ranked among each other: one family of pairs, corrected by Holm.

    Attributes:
        row_count: m.
        offset: Rows of the groups before it, after which its ranges begin.
        ranges: Range of ranks of each row, best first.
        untested_count: Pairs that cannot be tested.
        units: Units of the pairs that have a trial in common.
        most_units: Most units of a pair, 0 if no pair has a trial in common.
        is_share: Whether the rows are ranked by a share, from 0 to 1.
        is_one_sided: Whether a pair has one training on one side.
        detectable: Detectable difference by the mean variances of the most frequent design, None if no pair is
            tested.
        neighbours: The first two neighbours that are not told apart, None if all are.
    """

    row_count: int
    offset: int
    ranges: tuple[RankRange, ...]
    untested_count: int
    units: frozenset[PairUnit]
    most_units: int
    is_share: bool
    is_one_sided: bool
    detectable: float | None
    neighbours: Neighbours | None

    @property
    def pair_count(self) -> int:
        """The size of the family."""
        return self.row_count * (self.row_count - 1) // 2

    @property
    def tested_count(self) -> int:
        """The number of pairs that can be tested."""
        return self.pair_count - self.untested_count


def rank_group(
    rows: Sequence[RowValues], *, lowest_is_best: bool, is_share: bool, offset: int
) -> RankGroup:
    """Return the ranges of the rows of one group.

    Args:
        rows: Rows, best first.
        lowest_is_best: The lowest mean is best.
        is_share: The rows are ranked by a share.
        offset: Rows of the groups before it.
    """
    import numpy as np

    # A p of 5 % or more is never sure, however many pairs there are.
    tests = pair_tests(rows, ceiling=FAMILY_LEVEL)
    ranges = rank_ranges(tests.p_values, -tests.low if lowest_is_best else tests.low)
    upper = np.triu_indices(len(rows), 1)
    designs = [design for design in tests.designs if _upper_pairs(design).any()]
    return RankGroup(
        len(rows),
        offset,
        tuple(RankRange(each.best + offset, each.worst + offset) for each in ranges),
        untested_count=int(np.isnan(tests.p_values[upper]).sum()),
        units=frozenset(design.unit for design in designs),
        most_units=max((design.differences.unit_count for design in designs), default=0),
        is_share=is_share,
        is_one_sided=any(design.differences.unreplicated for design in tests.designs),
        detectable=_detectable_of(tests, len(rows)),
        neighbours=_close_neighbours(tests, lowest_is_best=lowest_is_best, offset=offset),
    )


def _upper_pairs(design: PairDesign) -> NDArray[np.bool_]:
    """Return which pairs of a design are above the diagonal: each pair once, and no row with itself."""
    return design.places[0] < design.places[1]


def _detectable_of(tests: PairTests, row_count: int) -> float | None:
    """Return the detectable difference of the most frequent design of a group."""
    import numpy as np

    level = first_holm_level(row_count)
    best_count, detectable = 0, None
    for design in tests.designs:
        chosen = _upper_pairs(design) & ~np.isnan(tests.p_values[design.places])
        variances = design.differences.at(chosen)
        if chosen.sum() > best_count and (variances.units.any() or variances.images.any()):
            best_count = int(chosen.sum())
            detectable = detectable_difference(
                variances.pooled(), level=level, unreplicated=variances.unreplicated
            )
    return detectable


def _close_neighbours(tests: PairTests, *, lowest_is_best: bool, offset: int) -> Neighbours | None:
    """Return the first row and the next that are not told apart, and what would separate them."""
    import numpy as np

    sure = separated_pairs(tests.p_values)
    row_count = len(sure)
    for place in range(row_count - 1):
        if sure[place, place + 1]:
            continue
        pair = (place + 1, place) if lowest_is_best else (place, place + 1)
        for places, differences, unit in tests.designs:
            (at,) = np.nonzero((places[0] == pair[0]) & (places[1] == pair[1]))
            if at.size:
                difference = max(float(tests.low[pair]), 0.0)
                need = None
                if not np.isnan(tests.p_values[pair]):
                    need = separation_need(
                        differences.at(at).pooled(difference=difference),
                        level=first_holm_level(row_count),
                        unreplicated=differences.unreplicated,
                    )
                counts = (differences.unit_count, differences.image_count)
                return Neighbours(offset + place + 1, difference, unit, *counts, need)
        return Neighbours(offset + place + 1, 0.0, "trial", 0, 0, None)
    return None
