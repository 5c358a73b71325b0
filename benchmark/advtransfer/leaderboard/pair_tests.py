"""The differences of all pairs of rows of a table and their p values: those of `paired_difference`, all at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from advtransfer.leaderboard.aggregates import repeat_per_replicate, replicates_of
from advtransfer.leaderboard.result_data import Metric
from advtransfer.leaderboard.table_rows import TrialKey
from advtransfer.statistics import (
    PairDifferences,
    difference_p_values,
    image_differences,
    value_differences,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

PairUnit: TypeAlias = Literal["training", "seed", "trial"]


@dataclass(frozen=True, slots=True, eq=False)
class RowValues:
    """The metric of one row by trial, as arrays that little memory holds.

    Attributes:
        keys: Trials, in order.
        low: Values ``(trials,)`` if unknown outcomes count as broken.
        high: Values if they count as robust.
        images_low: Values by test image ``(trials, images)``, None without outcomes of images.
        images_high: The same if unknown outcomes count as robust.
        is_deterministic: All seeds are the same trial, by what the transfer says.
        has_source: Whether the row has a source, whose trainings differ.
    """

    keys: tuple[TrialKey, ...]
    low: FloatArray
    high: FloatArray
    images_low: NDArray[np.generic] | None
    images_high: NDArray[np.generic] | None
    is_deterministic: bool
    has_source: bool

    @property
    def image_count(self) -> int:
        """Test images, 0 without outcomes of images."""
        return 0 if self.images_low is None else self.images_low.shape[1]


def row_values(
    metrics: Mapping[TrialKey, Metric], *, deterministic: bool, has_source: bool
) -> RowValues:
    """Return the values of a row."""
    import numpy as np

    keys = tuple(sorted(metrics, key=lambda key: (key[0] or 0, key[1])))
    ordered = [metrics[key] for key in keys]
    images = [metric.images for metric in ordered]
    known = [each for each in images if each is not None]
    low = high = None
    if len(known) == len(images) and len({len(each.low) for each in known}) == 1:
        low = _compact(np.stack([each.low for each in known]))
        high = low
        if any(each.high is not each.low for each in known):
            high = _compact(np.stack([each.high for each in known]))
            high = low if np.array_equal(low, high) else high
    return RowValues(
        keys,
        np.array([metric.low for metric in ordered]),
        np.array([metric.high for metric in ordered]),
        low,
        high,
        deterministic,
        has_source,
    )


def _compact(values: FloatArray) -> NDArray[np.generic]:
    """Return outcomes of 0 and 1 in a byte each; averages over references stay as they are."""
    import numpy as np

    outcomes = values.astype(np.uint8)
    return outcomes if np.array_equal(outcomes, values) else values


class PairDesign(NamedTuple):
    """Pairs (i, j) whose differences have the same design, and are tested alike.

    Attributes:
        places: The i and the j of each pair; a pair is in both directions.
        differences: Their differences, if unknown outcomes count against i and for j.
        unit: What is drawn anew from unit to unit: a source training, a subset seed, or nothing with one trial.
    """

    places: tuple[NDArray[np.intp], NDArray[np.intp]]
    differences: PairDifferences
    unit: PairUnit


@dataclass(frozen=True, slots=True)
class PairTests:
    """All pairs of the rows of one table.

    Attributes:
        low: ``(m, m)``: our mean less theirs if unknown outcomes count against us and for them; above 0 where
            row i is larger whatever the outcomes are.
        p_values: ``(m, m)``, symmetric: p of a difference of 0; NaN for a pair that cannot be tested.
        designs: The pairs by design.
    """

    low: FloatArray
    p_values: FloatArray
    designs: tuple[PairDesign, ...]


def pair_tests(rows: Sequence[RowValues], *, ceiling: float = 1.0) -> PairTests:
    """Return the differences of all pairs of rows, with the p values of `paired_difference`.

    Args:
        rows: Rows of one table.
        ceiling: Some p values of at least this one may be 1, which saves their time.
    """
    import numpy as np

    shape = (len(rows), len(rows))
    low, one_sided_p = np.full(shape, np.nan), np.full(shape, np.nan)
    has_images = np.zeros(shape, dtype=bool)
    designs = _design_blocks(rows)
    for places, differences, _ in designs:
        low[places] = differences.mean
        has_images[places] = bool(differences.image_count)
        first_is_larger = differences.mean > 0
        one_sided_p[places] = 1.0
        # With images, only the end of a range that is nearer to 0 counts, see `paired_difference`.
        chosen = first_is_larger if differences.image_count else np.ones_like(first_is_larger)
        ours = (places[0][chosen], places[1][chosen])
        one_sided_p[ours] = difference_p_values(differences.at(chosen), ceiling=ceiling)
    larger, smaller = low > 0, low.T > 0
    with_images = np.where(larger, one_sided_p, np.where(smaller, one_sided_p.T, 1.0))
    untested = np.isnan(one_sided_p) & np.isnan(one_sided_p.T)
    both = np.maximum(np.nan_to_num(one_sided_p, nan=1.0), np.nan_to_num(one_sided_p.T, nan=1.0))
    without = np.where(untested, np.nan, np.where(larger | smaller, both, 1.0))
    p_values = np.where(has_images, with_images, without)
    p_values[np.isnan(low)] = np.nan
    return PairTests(low, p_values, tuple(designs))


def _design_blocks(rows: Sequence[RowValues]) -> list[PairDesign]:
    """Return the differences of all ordered pairs, by the designs of their two rows."""
    by_design: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        design = (row.keys, row.image_count, row.is_deterministic, row.has_source)
        by_design[design].append(place)
    blocks: list[PairDesign] = []
    for first in by_design.values():
        for second in by_design.values():
            blocks += _block_of(rows, first, second)
    return blocks


def _block_of(
    rows: Sequence[RowValues], first: Sequence[int], second: Sequence[int]
) -> list[PairDesign]:
    """Return the differences of the rows of one design to those of another."""
    import numpy as np

    ours, theirs = rows[first[0]], rows[second[0]]
    own = repeat_per_replicate({key: at for at, key in enumerate(ours.keys)}, over=theirs.keys)
    other = repeat_per_replicate({key: at for at, key in enumerate(theirs.keys)}, over=ours.keys)
    common = [key for key in own if key in other]
    if not common:
        return []
    counts = {len(replicates_of(ours.keys)), len(replicates_of(theirs.keys))}
    has_trainings = ours.has_source and theirs.has_source
    block = _Block(
        [rows[place] for place in first],
        [rows[place] for place in second],
        common,
        [own[key] for key in common],
        [other[key] for key in common],
        unreplicated=has_trainings and len(counts) > 1 and 1 in counts,
    )
    grid = np.meshgrid(first, second, indexing="ij")
    merged = np.zeros(grid[0].shape, dtype=bool)
    if ours.is_deterministic and theirs.is_deterministic:
        merged = block.has_equal_seeds()
    found: list[PairDesign] = []
    for pairs, each in ((~merged, block), (merged, block.first_seeds())):
        if pairs.any():
            places = (grid[0][pairs], grid[1][pairs])
            found.append(PairDesign(places, each.differences().at(pairs), each.unit))
    return found


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows of two designs and the places of their common trials in each."""

    first: Sequence[RowValues]
    second: Sequence[RowValues]
    keys: Sequence[TrialKey]
    first_places: Sequence[int]
    second_places: Sequence[int]
    unreplicated: bool

    @property
    def unit(self) -> PairUnit:
        """What is drawn anew from unit to unit."""
        if len(self.keys) == 1:
            return "trial"
        return "training" if len(replicates_of(self.keys)) > 1 else "seed"

    def first_seeds(self) -> _Block:
        """Return the block with the first seed of each replicate."""
        kept: dict[int | None, int] = {}
        for place, (replicate, _) in enumerate(self.keys):
            kept.setdefault(replicate, place)
        chosen = list(kept.values())
        return _Block(
            self.first,
            self.second,
            [self.keys[place] for place in chosen],
            [self.first_places[place] for place in chosen],
            [self.second_places[place] for place in chosen],
            self.unreplicated,
        )

    def has_equal_seeds(self) -> NDArray[np.bool_]:
        """Return for each pair whether the differences of all seeds of a replicate are equal."""
        import numpy as np

        equal = np.ones((len(self.first), len(self.second)), dtype=bool)
        for ours, theirs in (("low", "high"), ("high", "low")):
            gaps = self._values(self.first, ours, self.first_places)[:, None]
            gaps = gaps - self._values(self.second, theirs, self.second_places)[None]
            for replicate in replicates_of(self.keys):
                chosen = [key[0] == replicate for key in self.keys]
                equal &= np.ptp(gaps[..., chosen], axis=-1) == 0
        return equal

    def differences(self) -> PairDifferences:
        """Return the differences of all pairs, where unknown outcomes count against the first row."""
        counts = {row.image_count for row in (*self.first, *self.second)}
        if len(counts) > 1 or 0 in counts:
            return value_differences(
                self._values(self.first, "low", self.first_places),
                self._values(self.second, "high", self.second_places),
                self.keys,
                unreplicated=self.unreplicated,
            )
        return image_differences(
            self._values(self.first, "images_low", self.first_places),
            self._values(self.second, "images_high", self.second_places),
            self.keys,
            unreplicated=self.unreplicated,
        )

    @staticmethod
    def _values(rows: Sequence[RowValues], name: str, places: Sequence[int]) -> NDArray[np.float64]:
        import numpy as np

        return np.stack([getattr(row, name)[places] for row in rows])
