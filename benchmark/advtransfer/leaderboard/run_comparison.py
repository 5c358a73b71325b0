"""Comparison of two runs or rows: what differs, and whether their results differ beyond noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.aggregates import Aggregate, aggregate_metrics, paired_difference
from advtransfer.leaderboard.markdown import count_noun, format_interval, format_number
from advtransfer.leaderboard.publish import load_run_records
from advtransfer.leaderboard.result_data import Metric
from advtransfer.leaderboard.run_causes import CAUSES, Cause, RunSide, TrialPair, find_causes
from advtransfer.leaderboard.run_data import RunData, gather_run_data
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    TablePlace,
    TrialKey,
    columns_of,
    find_column,
    group_rows,
)
from advtransfer.planning import Trial
from advtransfer.result import Run
from advtransfer.statistics import holm_correction
from advtransfer.text import one_line
from advtransfer.types import Json

RowName: TypeAlias = "tuple[str | None, str | None, str]"
"""Source, adapter and transfer of a row."""
SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference ``second - first`` of one metric of one row at one target and n.

    Attributes:
        place: Target and n.
        row: Name of the row, or of both rows.
        metric: Column.
        difference: The difference with its 95 % interval, paired by training, seed and image where it can be.
        is_paired: Whether trials of both sides were paired.
        is_beyond_noise: Whether p is below .05 after Holm's correction over all comparisons.
    """

    place: TablePlace
    row: str
    metric: str
    difference: Aggregate
    is_paired: bool
    is_beyond_noise: bool = False

    @property
    def is_equal(self) -> bool:
        """Whether both sides have the same number."""
        return self.difference.low == self.difference.high == 0

    def __str__(self) -> str:
        target, n = self.place
        value = format_number(self.difference.low, sign=True, fine=True)
        interval = format_interval(self.difference.interval, sign=True, fine=True)
        marks = " *" if self.is_beyond_noise else ""
        marks += "" if self.is_paired else " (not paired)"
        return one_line(f"{target} n={n}  {self.row}  {self.metric}  {value}{interval}{marks}")


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What differs between two sides, and by how much their results do.

    Attributes:
        causes: What differs, the likeliest cause first.
        comparisons: The numbers that both sides have.
        unmatched: Trials of each side without a counterpart in the other's plan.
        has_pairs: Whether any trials correspond.
        unmeasured: Trials of each side that failed or were not run, so that records are missing.
        is_measured: Whether each side has a trial with all its records.
    """

    causes: tuple[Cause, ...]
    comparisons: tuple[Comparison, ...]
    unmatched: tuple[int, int]
    has_pairs: bool = True
    unmeasured: tuple[int, int] = (0, 0)
    is_measured: tuple[bool, bool] = (True, True)

    def lines(self) -> list[str]:
        """Return the report, the likeliest cause first."""
        lines = [self._first_line(), *self._cause_lines(), *self._result_lines()]
        return list(map(one_line, lines))

    def to_json(self) -> dict[str, Json]:
        """Return the report as plain data."""
        return {
            "causes": [cause._asdict() for cause in self.causes],
            "comparisons": [
                {
                    "target": each.place[0],
                    "n": each.place[1],
                    "row": each.row,
                    "metric": each.metric,
                    "difference": each.difference.low,
                    "interval": list(each.difference.interval)
                    if each.difference.interval
                    else None,
                    "p": each.difference.p_value,
                    "paired": each.is_paired,
                    "beyond_noise": each.is_beyond_noise,
                }
                for each in self.comparisons
            ],
            "unmatched": list(self.unmatched),
            "unmeasured": list(self.unmeasured),
        }

    def _first_line(self) -> str:
        if self._names_cause():
            return f"likely cause of any difference: {self.causes[0]}"
        if not self.has_pairs:
            return "no trial of one side has a counterpart on the other: causes cannot be told"
        if not all(self.is_measured):
            return "no trial of one side was measured as a whole: other causes cannot be told"
        nothing = "nothing but the suite's name" if self.causes else "nothing"
        return f"{nothing} differs in what the records say of suite, code, machine, data, weights and seeds"

    def _names_cause(self) -> bool:
        """Return whether anything differs that a number can depend on: more than the suite's name."""
        return any(cause.kind != "name" for cause in self.causes)

    def _cause_lines(self) -> Iterator[str]:
        if len(self.causes) > 1 or (self.causes and not self._names_cause()):
            yield f"{count_noun(len(self.causes), 'difference')}, the likeliest cause first (first | second):"
            yield from (f"  {cause}" for cause in self.causes)

    def _result_lines(self) -> Iterator[str]:
        if not self.comparisons:
            yield "no row has the same metric, target and n on both sides: nothing to compare"
        equal = sum(each.is_equal for each in self.comparisons)
        differing = [each for each in self.comparisons if not each.is_equal]
        # Without a p nothing is known of noise: an interval of unpaired trials is no test of the family.
        untested = [each for each in differing if each.difference.p_value is None]
        beyond = [each for each in differing if each.is_beyond_noise]
        within = [each for each in differing if each not in untested and each not in beyond]
        if self.comparisons:
            tested = sum(each.difference.p_value is not None for each in self.comparisons)
            yield (
                f"{count_noun(len(self.comparisons), 'number')} compared (second - first): {equal} equal, "
                f"{len(within)} within noise, {len(beyond)} beyond it (*: p < .05 after Holm's correction for "
                f"{tested}), {len(untested)} not tested"
            )
        yield from (f"  {each}" for each in (*beyond, *untested, *within))
        if any(self.unmatched):
            yield (
                f"without a counterpart: {count_noun(self.unmatched[0], 'trial')} of the first, "
                f"{self.unmatched[1]} of the second"
            )
        if any(self.unmeasured):
            yield (
                f"not measured: {count_noun(self.unmeasured[0], 'trial')} of the first, "
                f"{self.unmeasured[1]} of the second (failed or not run: `advtransfer status` says why)"
            )


def compare_runs(
    first: Run, second: Run, *, rows: tuple[str, str] | None = None
) -> ComparisonReport:
    """Compare two runs, or two rows of them.

    Args:
        first: A run folder or bundle.
        second: Another, or the same with `rows`.
        rows: The row of each side, as its labels with spaces between: ``linf 0.1 block1``.

    Raises:
        BadInput: A row does not exist, or its name fits several.
    """
    sides = [_side(run) for run in (first, second)]
    data = [gather_run_data(load_run_records(run, find_damaged=False)) for run in (first, second)]
    chosen = [_find_row(each, rows[at]) for at, each in enumerate(data)] if rows else None
    pairs, unmatched = _pair_trials(data[0], data[1], chosen)
    loose = _loose_pairs(data[0], data[1], chosen, pairs)
    causes = find_causes(sides[0], sides[1], pairs, whole=chosen is None)
    # Weights and drawn data of other seeds differ in any case.
    found = find_causes(sides[0], sides[1], loose, whole=False)
    causes += [each for each in found if each.kind not in ("weights", "data")]
    causes.sort(key=lambda cause: CAUSES.index(cause.kind))
    comparisons = _mark_beyond_noise(list(_compare_rows(data[0], data[1], chosen)))
    counts = [
        _measured_counts(side, chosen[at] if chosen else None) for at, side in enumerate(sides)
    ]
    return ComparisonReport(
        tuple(causes),
        tuple(comparisons),
        unmatched,
        bool(pairs or loose),
        unmeasured=(counts[0][1], counts[1][1]),
        is_measured=(counts[0][0] > 0, counts[1][0] > 0),
    )


def _measured_counts(side: RunSide, chosen: RowName | None) -> tuple[int, int]:
    """Return the number of trials with all their records, and of those without."""
    trials = [
        trial
        for trial in side.plan.trials
        if not trial.skipped and chosen in (None, (trial.row, trial.adapter, trial.transfer))
    ]
    measured = sum(all(id in side.records for id in trial.record_ids()) for trial in trials)
    return measured, len(trials) - measured


def _side(run: Run) -> RunSide:
    from advtransfer.planning import Plan

    # Outcomes are most of a record, and say nothing of causes.
    records = {
        str(record["id"]): {key: value for key, value in record.items() if key != "outcomes"}
        for record in run.read_records()
    }
    return RunSide(Plan.from_json(run.read_plan()), records, run.read_environments())


def _find_row(data: RunData, text: str) -> RowName:
    names = {(trial.row, trial.adapter, trial.transfer) for trial in data.plan.trials}
    by_text = {_row_text(name): name for name in names}
    if text in by_text:
        return by_text[text]
    choices = ", ".join(sorted(by_text))
    found = f"the row {text[:100]!r} in {data.plan.suite}"
    raise BadInput([Problem(found, f"one of {choices[:1000]}", "write it as the table does")])


def _row_text(name: RowName) -> str:
    source, adapter, transfer = name
    return " ".join(filter(None, [source, f"via {adapter}" if adapter else None, transfer]))


def _pair_trials(
    first: RunData, second: RunData, chosen: Sequence[RowName] | None
) -> tuple[list[TrialPair], tuple[int, int]]:
    """Return the trials that correspond, and the number of others on each side."""
    keyed = []
    for at, data in enumerate((first, second)):
        trials = {}
        for trial in data.plan.trials:
            name = (trial.row, trial.adapter, trial.transfer)
            if chosen is None or name == chosen[at]:
                place = (trial.target, trial.n, trial.replicate or 0, trial.seed)
                trials[(None if chosen else name, *place)] = trial
        keyed.append(trials)
    common = [key for key in keyed[0] if key in keyed[1]]
    return (
        [(keyed[0][key], keyed[1][key]) for key in common],
        (len(keyed[0]) - len(common), len(keyed[1]) - len(common)),
    )


def _loose_pairs(
    first: RunData,
    second: RunData,
    chosen: Sequence[RowName] | None,
    pairs: Sequence[TrialPair],
) -> list[TrialPair]:
    """Return a trial of each side for rows at a target and n of which no training and seed is on both."""
    firsts: list[dict[tuple[object, ...], Trial]] = []
    for at, data in enumerate((first, second)):
        trials: dict[tuple[object, ...], Trial] = {}
        for trial in data.plan.trials:
            name = (trial.row, trial.adapter, trial.transfer)
            if chosen is None or name == chosen[at]:
                trials.setdefault((None if chosen else name, trial.target, trial.n), trial)
        firsts.append(trials)
    exact = {
        (None if chosen else (one.row, one.adapter, one.transfer), one.target, one.n)
        for one, _ in pairs
    }
    return [
        (firsts[0][key], firsts[1][key]) for key in firsts[0] if key in firsts[1].keys() - exact
    ]


def _compare_rows(
    first: RunData, second: RunData, chosen: Sequence[RowName] | None
) -> Iterator[Comparison]:
    tables = [_rows_by_name(data) for data in (first, second)]
    columns = _common_columns(first, second)
    for (place, name), row in tables[0].items():
        if chosen is not None and name != chosen[0]:
            continue
        other = tables[1].get((place, chosen[1] if chosen else name))
        if other is None:
            continue
        names = [_row_text(name), _row_text((other.source, other.adapter, other.transfer))]
        text = names[0] if names[0] == names[1] else f"{names[1]} - {names[0]}"
        for left, right in columns:
            compared = _compare_cells(row, left, first, other, right, second)
            if compared is not None:
                yield Comparison(place, text, left.name, *compared)


def _rows_by_name(data: RunData) -> dict[tuple[TablePlace, RowName], LeaderboardRow]:
    return {
        (place, (row.source, row.adapter, row.transfer)): row
        for place, rows in group_rows(data).items()
        for row in rows
    }


def _common_columns(first: RunData, second: RunData) -> list[tuple[Column, Column]]:
    """Return the columns of the first page that the second run has too."""
    pairs: list[tuple[Column, Column]] = []
    for column in columns_of(first):
        try:
            other = find_column(column.name, second)
        except BadInput:
            continue
        if column.metric is not None and other.metric is not None:
            pairs.append((column, other))
    return pairs


def _compare_cells(
    row: LeaderboardRow,
    column: Column,
    data: RunData,
    other: LeaderboardRow,
    other_column: Column,
    other_data: RunData,
) -> tuple[Aggregate, bool] | None:
    """Return the difference of one number and whether it is paired; None where a side lacks it."""
    ours, theirs = other.metric_values(other_column, other_data), row.metric_values(column, data)
    if not ours or not theirs:
        return None
    if _tests_of(row, column, data) != _tests_of(other, other_column, other_data):
        ours, theirs = _without_images(ours), _without_images(theirs)
    paired = paired_difference(
        ours, theirs, has_trainings=row.source is not None and other.source is not None
    )
    if paired is not None:
        return paired, True
    return _unpaired_difference(aggregate_metrics(ours), aggregate_metrics(theirs)), False


def _tests_of(row: LeaderboardRow, column: Column, data: RunData) -> set[str]:
    return {result.test_id for trial in row.trials for result in column.results_of(trial, data)}


def _without_images(metrics: Mapping[TrialKey, Metric]) -> dict[TrialKey, Metric]:
    """Return metrics of other test images, which cannot be paired."""
    return {key: replace(metric, images=None) for key, metric in metrics.items()}


def _unpaired_difference(ours: Aggregate, theirs: Aggregate) -> Aggregate:
    """Return the difference of two means, with both intervals in quadrature (Newcombe, 1998, method 10)."""
    interval = None
    if ours.interval and theirs.interval:
        low = ((ours.low - ours.interval[0]) ** 2 + (theirs.interval[1] - theirs.high) ** 2) ** 0.5
        high = ((ours.interval[1] - ours.high) ** 2 + (theirs.low - theirs.interval[0]) ** 2) ** 0.5
        interval = (ours.low - theirs.high - low, ours.high - theirs.low + high)
    units = min(ours.unit_count, theirs.unit_count)
    trials = min(ours.trial_count, theirs.trial_count)
    low_end, high_end = ours.low - theirs.high, ours.high - theirs.low
    return Aggregate(low_end, high_end, interval, ours.basis, units, trials)


def _mark_beyond_noise(comparisons: Sequence[Comparison]) -> list[Comparison]:
    corrected = holm_correction([each.difference.p_value for each in comparisons])
    return [
        replace(each, is_beyond_noise=p is not None and p < SIGNIFICANCE)
        for each, p in zip(comparisons, corrected, strict=True)
    ]
