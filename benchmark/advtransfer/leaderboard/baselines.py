"""The baselines of a suite, and the differences of the rows of a table to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from advtransfer.leaderboard.aggregates import (
    Aggregate,
    UntestedDifference,
    untested_difference,
    with_p_values,
)
from advtransfer.leaderboard.probes import combine_probes
from advtransfer.leaderboard.result_data import Metric
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, TrialKey
from advtransfer.statistics import holm_correction
from advtransfer.types import Json

SIGNIFICANCE_LEVEL = 0.05
"""Largest p value, after Holm's correction, of a difference that is marked."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """Difference of a row to a baseline.

    Attributes:
        value: The difference, or ``baseline`` for a row that is the baseline itself.
        is_clear: Whether Holm's p over all differences of the table, to every baseline, is below .05.
    """

    value: Aggregate | Literal["baseline"]
    is_clear: bool = False


def requested_baselines(leaderboard: Mapping[str, Json]) -> list[Json]:
    """Return the baselines of a plan's leaderboard, the first of which answers and curves take differences to."""
    baselines = leaderboard.get("baselines")
    if isinstance(baselines, Sequence) and not isinstance(baselines, str):
        return list(baselines)
    baseline = leaderboard.get("baseline")
    return [] if baseline is None else [baseline]


def baseline_label(baseline: Json) -> str:
    """Return the name of the baseline: ``natural``, ``transfer scratch``."""
    return f"transfer {baseline['transfer']}" if isinstance(baseline, Mapping) else str(baseline)


def baseline_row(
    row: LeaderboardRow, rows: Sequence[LeaderboardRow], baseline: Json
) -> LeaderboardRow | None:
    """Return the baseline's row with which a row is compared, None without a single match."""
    if isinstance(baseline, Mapping):
        transfer = baseline["transfer"]
        # A transfer such as training from scratch has rows without a source, compared with all.
        sources = (row.source, None)
        matches = [
            other for other in rows if other.transfer == transfer and other.source in sources
        ]
    else:
        matches = [
            other for other in rows if other.source == baseline and other.transfer == row.transfer
        ]
    # Only a preference: a baseline source may need no adapter, or another one.
    same_adapter = [other for other in matches if other.adapter == row.adapter]
    matches = same_adapter or matches
    return matches[0] if len(matches) == 1 else None


def row_differences(
    values: Mapping[LeaderboardRow, Mapping[TrialKey, Metric]], data: RunData
) -> dict[LeaderboardRow, tuple[RowDifference | None, ...]]:
    """Return the differences of each row to the suite's baselines, tested and marked all at once."""
    rows = list(values)
    baselines = requested_baselines(data.plan.leaderboard)
    differences: dict[tuple[LeaderboardRow, int], RowDifference] = {}
    untested: dict[tuple[LeaderboardRow, int], UntestedDifference] = {}
    for column, baseline in enumerate(baselines):
        for row in rows:
            other = baseline_row(row, rows, baseline)
            if other is row:
                differences[row, column] = RowDifference("baseline")
            elif other is not None:
                difference = _difference_to(other, row, values, data)
                if difference is not None:
                    untested[row, column] = difference
    tested = with_p_values(list(untested.values()))
    differences |= dict(zip(untested, _mark_clear(tested), strict=True))
    columns = range(len(baselines))
    return {row: tuple(differences.get((row, column)) for column in columns) for row in rows}


def _mark_clear(aggregates: Sequence[Aggregate]) -> list[RowDifference]:
    """Return the differences, with those marked that hold after Holm's correction for their number."""
    differences = [RowDifference(each) for each in aggregates]
    tested = [place for place, each in enumerate(aggregates) if each.p_value is not None]
    corrected = holm_correction([aggregates[place].p_value for place in tested])
    for place, p_value in zip(tested, corrected, strict=True):
        is_clear = p_value is not None and p_value < SIGNIFICANCE_LEVEL
        differences[place] = replace(differences[place], is_clear=is_clear)
    return differences


def _difference_to(
    other: LeaderboardRow,
    row: LeaderboardRow,
    values: Mapping[LeaderboardRow, Mapping[TrialKey, Metric]],
    data: RunData,
) -> UntestedDifference | None:
    """Return the difference of a row to another, None where other images were attacked."""
    ours, theirs = values[row], values[other]
    if _probed_images(ours) != _probed_images(theirs):
        return None
    return untested_difference(
        ours,
        theirs,
        deterministic=row.is_deterministic(data) and other.is_deterministic(data),
        has_trainings=row.source is not None and other.source is not None,
    )


def _probed_images(metrics: Mapping[TrialKey, Metric]) -> str | None:
    """Return which images the batteries behind some numbers attacked."""
    probe = combine_probes(metric.probe for metric in metrics.values())
    return None if probe is None else probe.images
