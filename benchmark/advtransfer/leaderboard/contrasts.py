"""Contrasts: comparisons of rows in one metric, over one or several tables.

The rows are those that `leaderboard.answer` names, else the best row and the baseline, else the best
row and the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.aggregates import Aggregate, MetricPair, mean_paired_difference
from advtransfer.leaderboard.ranking import (
    SIGNIFICANCE_LEVEL,
    Ranking,
    TableLine,
    rank_rows,
)
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    LeaderboardRow,
    RowsByTable,
    TablePlace,
    find_column,
    group_rows,
)
from advtransfer.suite.row_settings import ANSWER_AXES, ROW_AXES
from advtransfer.types import Json

AnswerVerdict: TypeAlias = Literal["yes", "no", "cannot tell"]
RowLabels: TypeAlias = "Mapping[str, str | None]"
"""Labels of a row by axis, None for an axis without one; an axis that is not named is any."""


class NamedRow(Protocol):
    """A row of a table, or its name alone."""

    @property
    def source(self) -> str | None: ...
    @property
    def adapter(self) -> str | None: ...
    @property
    def transfer(self) -> str: ...


class RowName(NamedTuple):
    """The name of a row: it may stand in several tables."""

    source: str | None
    adapter: str | None
    transfer: str


Row = TypeVar("Row", bound=NamedRow)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Which rows are compared, in which metric and tables.

    Attributes:
        metric: Name of the column.
        lowest_is_best: Whether the lowest value is best.
        of: The row that is asked about, None for the best one.
        against: What it is compared with, None for the second best row.
        at: Labels of ``target``, ``n``, ``source`` and ``transfer`` to which rows are restricted;
            without ``n``, the tables are those of each target's largest n.
        is_stated: Whether the suite states it.
    """

    metric: str
    lowest_is_best: bool = False
    of: RowLabels | None = None
    against: RowLabels | None = None
    at: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    is_stated: bool = False

    def selected_places(self, places: Iterable[TablePlace]) -> list[TablePlace]:
        """Return the tables that the contrast is about."""
        targets = self.at.get("target")
        of_targets = [place for place in places if targets is None or place[0] in targets]
        counts = self.at.get("n")
        if counts is not None:
            return [place for place in of_targets if place[1] in counts]
        # Places are in order of n, `all` last, so that the last one of a target has the largest.
        return list({target: (target, n) for target, n in of_targets}.values())

    def asks_about(self, row: NamedRow) -> bool:
        """Return whether a row is one that the contrast is about."""
        is_placed = all(
            getattr(row, axis) in self.at[axis]
            for axis in ("source", "transfer")
            if axis in self.at
        )
        return is_placed and (self.of is None or _has_labels(row, self.of))

    def opponent(self, row: NamedRow, rows: Sequence[Row]) -> Row | None:
        """Return the row that a row is compared with, None without a single one.

        It agrees with the row on the axes that `against` does not name. A row without a source
        (training from scratch) is compared with those of any source.
        """
        against = self.against or {}
        others = [other for other in rows if other is not row and _has_labels(other, against)]
        if "source" not in against:
            others = [other for other in others if other.source in (row.source, None)]
        if "transfer" not in against:
            others = [other for other in others if other.transfer == row.transfer]
        # Only a preference: another source may need no adapter, or another one.
        same_adapter = [other for other in others if other.adapter == row.adapter]
        others = same_adapter or others
        return others[0] if len(others) == 1 else None


@dataclass(frozen=True, slots=True)
class RowPair:
    """Two ranked rows of one table that are compared."""

    place: TablePlace
    line: TableLine
    other: TableLine


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rows of a contrast in the tables of a run.

    Attributes:
        contrast: What is compared.
        ranking: Its column and direction.
        pairs: The pairs of ranked rows.
        places: The tables that the contrast selects.
        left_out: Pairs of which a row is not ranked.
        chosen: Name of the best row, where the contrast names none.
        candidates: Rows among which the best was chosen.
        best: Name of the best row of all, also where it is the baseline itself.
    """

    contrast: Contrast
    ranking: Ranking
    pairs: tuple[RowPair, ...]
    places: tuple[TablePlace, ...]
    left_out: int = 0
    chosen: RowName | None = None
    candidates: int = 0
    best: RowName | None = None

    @property
    def family_size(self) -> int:
        """Comparisons among which the shown one was chosen: with the baseline, or of all pairs."""
        if self.chosen is None:
            return 1
        if self.contrast.against is not None:
            return max(1, self.candidates)
        return max(1, self.candidates * (self.candidates - 1) // 2)

    def measured_difference(self, data: RunData) -> Aggregate | None:
        """Return the mean difference of all pairs with its interval; None without any."""
        by_target: dict[str, list[MetricPair]] = {}
        column = self.ranking.column
        rows = [row for pair in self.pairs for row in (pair.line.row, pair.other.row)]
        for pair in self.pairs:
            metrics = [each.row.metric_values(column, data) for each in (pair.line, pair.other)]
            by_target.setdefault(pair.place[0], []).append((metrics[0], metrics[1]))
        return mean_paired_difference(
            by_target,
            deterministic=all(row.is_deterministic(data) for row in rows),
            has_trainings=all(row.source is not None for row in rows),
        )

    def verdict(self, difference: Aggregate | None) -> AnswerVerdict:
        """Return what a difference says, after Bonferroni's correction where the row was chosen."""
        if difference is None or difference.interval is None:
            return "cannot tell"
        low, high = difference.interval
        if low <= 0 <= high:
            return "cannot tell"
        p_value = difference.p_value
        if self.family_size > 1 and (
            p_value is None or p_value * self.family_size >= SIGNIFICANCE_LEVEL
        ):
            return "cannot tell"
        is_better = high < 0 if self.ranking.lowest_is_best else low > 0
        return "yes" if is_better else "no"


def read_contrast(settings: Mapping[str, Json]) -> Contrast | None:
    """Return the contrast of a plan's ``leaderboard``; None without a metric, or where a question asks.

    Raises:
        BadInput: `answer` is malformed.
    """
    stated = settings.get("answer")
    if stated is not None and not _is_answer(stated):
        found = f"leaderboard answer {stated!r}"
        expected = "metric, of, against and at, as `advtransfer schema` says"
        raise BadInput([Problem(found, expected, "correct it in the suite and run it again")])
    answer: Mapping[str, Json] = stated if isinstance(stated, Mapping) else {}
    metric = answer.get("metric") or settings.get("rank_by")
    if not metric or (not answer and settings.get("questions")):
        return None
    lowest = metric.get("lowest") if isinstance(metric, Mapping) else None
    at = answer.get("at")
    return Contrast(
        metric=str(lowest or metric),
        lowest_is_best=lowest is not None,
        of=_row_labels(answer.get("of")),
        against=_row_labels(answer.get("against")) or _baseline_labels(settings.get("baseline")),
        at={axis: _as_labels(labels) for axis, labels in at.items()}
        if isinstance(at, Mapping)
        else {},
        is_stated=bool(answer),
    )


def requested_contrast(data: RunData) -> Contrast | None:
    """Return the contrast of a run's page, as `read_contrast`.

    Raises:
        BadInput: It is malformed, its metric is not in the records, or it names no row of the plan.
    """
    contrast = read_contrast(data.plan.leaderboard)
    if contrast is None:
        return None
    find_column(contrast.metric, data)
    names = named_rows(data.plan.trials)
    if contrast.is_stated and (reason := unmatched_reason(contrast, names)):
        raise BadInput(
            [Problem(reason, "rows that can be compared", "correct `answer` in the suite")]
        )
    return contrast


def named_rows(trials: Iterable[_TrialName]) -> dict[TablePlace, list[RowName]]:
    """Return the names of the rows of each table of a plan, ordered by target and n."""
    tables: dict[TablePlace, dict[RowName, None]] = {}
    for trial in sorted(trials, key=_place_order):
        name = RowName(trial.row, trial.adapter, trial.transfer)
        tables.setdefault((trial.target, trial.n), {})[name] = None
    return {place: list(names) for place, names in tables.items()}


class _TrialName(Protocol):
    @property
    def row(self) -> str | None: ...
    @property
    def adapter(self) -> str | None: ...
    @property
    def transfer(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def n(self) -> int | Literal["all"]: ...


def _place_order(trial: _TrialName) -> tuple[str, bool, int]:
    is_all = trial.n == "all"
    return trial.target, is_all, 0 if trial.n == "all" else trial.n


def unmatched_reason(
    contrast: Contrast, tables: Mapping[TablePlace, Sequence[RowName]]
) -> str | None:
    """Return why no two planned rows meet in a contrast, None where some do."""
    places = contrast.selected_places(tables)
    if not places:
        return "`answer` selects no table: no trial has its target and n"
    asked = [
        (row, tables[place])
        for place in places
        for row in tables[place]
        if contrast.asks_about(row)
    ]
    if not asked:
        return "`answer` selects no row: none has the labels of `of` at this place"
    if contrast.against is not None and not any(
        contrast.opponent(row, rows) for row, rows in asked
    ):
        return "`answer` compares no rows: none of `against` (or the baseline) meets one of `of`"
    return None


def compare_rows(contrast: Contrast, data: RunData) -> Comparison:
    """Return the pairs of ranked rows that a contrast compares.

    Rows without a battery are no evidence, as those that are not ranked.

    Raises:
        BadInput: Its metric is not in the records.
    """
    ranking = Ranking(find_column(contrast.metric, data), contrast.lowest_is_best)
    tables = group_rows(data)
    places = contrast.selected_places(tables)
    lines = {place: _all_lines(tables, place, ranking, data) for place in places}
    if contrast.of is None:
        return _compare_best(contrast, ranking, lines)
    pairs, left_out = _paired_lines(contrast, lines)
    best = max(_common_scores(contrast, ranking, lines).items(), key=_score_key, default=None)
    return Comparison(
        contrast,
        ranking,
        tuple(pairs),
        tuple(places),
        left_out=left_out,
        best=None if best is None else best[0],
    )


def _compare_best(
    contrast: Contrast,
    ranking: Ranking,
    lines: Mapping[TablePlace, Mapping[LeaderboardRow, TableLine]],
) -> Comparison:
    """Return the comparison of the best row with its opponent, or with the second best row."""
    scores = _common_scores(contrast, ranking, lines)
    ordered = [name for name, _ in sorted(scores.items(), key=_score_key, reverse=True)]
    if not ordered:
        return Comparison(contrast, ranking, (), tuple(lines))
    pairs_of: dict[RowName, list[RowPair]] = {}
    for name in ordered:
        against = contrast.against if contrast.against is not None else _labels_of(ordered[1:2])
        of_name = Contrast(contrast.metric, of=_labels_of([name]), against=against)
        pairs, _ = _paired_lines(of_name, lines)
        if against is not None and len(pairs) == len(lines):
            pairs_of[name] = pairs
        if contrast.against is None:
            break
    chosen = next(iter(pairs_of), None)
    return Comparison(
        contrast,
        ranking,
        tuple(pairs_of[chosen]) if chosen else (),
        tuple(lines),
        chosen=chosen,
        candidates=len(pairs_of) if contrast.against is not None else len(ordered),
        best=ordered[0],
    )


def _all_lines(
    tables: RowsByTable, place: TablePlace, ranking: Ranking, data: RunData
) -> dict[LeaderboardRow, TableLine]:
    lines = rank_rows(tables[place], columns=[ranking.column], ranking=ranking, data=data)
    return {line.row: line for line in lines}


def _paired_lines(
    contrast: Contrast, lines: Mapping[TablePlace, Mapping[LeaderboardRow, TableLine]]
) -> tuple[list[RowPair], int]:
    """Return the pairs of ranked rows, and the number of pairs of which a row is not ranked."""
    pairs: list[RowPair] = []
    left_out = 0
    for place, of_place in lines.items():
        rows = list(of_place)
        for row in sorted(filter(contrast.asks_about, rows), key=lambda row: row.sort_key):
            other = contrast.opponent(row, rows)
            if other is None:
                continue
            pair = RowPair(place, of_place[row], of_place[other])
            if _is_ranked(pair.line) and _is_ranked(pair.other):
                pairs.append(pair)
            else:
                left_out += 1
    return pairs, left_out


def _is_ranked(line: TableLine) -> bool:
    """Return whether a row is ranked and, for a robust accuracy, attacked by the host itself."""
    # The lines of a contrast have its column alone.
    cells = line.cells.values()
    return line.rank is not None and all(cell.probe is None or cell.probe.count for cell in cells)


def _common_scores(
    contrast: Contrast,
    ranking: Ranking,
    lines: Mapping[TablePlace, Mapping[LeaderboardRow, TableLine]],
) -> dict[RowName, float]:
    """Return the mean score of each row that is ranked in every table."""
    scores: dict[RowName, list[float]] = {}
    for of_place in lines.values():
        for row, line in of_place.items():
            if contrast.of is None and not contrast.asks_about(row):
                continue
            if _is_ranked(line):
                name = RowName(row.source, row.adapter, row.transfer)
                score = ranking.sort_score(line.cells[ranking.column.name].aggregate)
                scores.setdefault(name, []).append(score)
    return {
        name: sum(values) / len(values)
        for name, values in scores.items()
        if len(values) == len(lines)
    }


def _score_key(item: tuple[RowName, float]) -> tuple[float, tuple[str, ...]]:
    # Of equal rows the last by name, so that the choice is unique.
    return item[1], tuple(label or "" for label in item[0])


def _has_labels(row: NamedRow, labels: RowLabels) -> bool:
    return all(getattr(row, axis) == label for axis, label in labels.items())


def _labels_of(names: Sequence[RowName]) -> RowLabels | None:
    """Return the labels of the first of some rows, None without any."""
    if not names:
        return None
    return names[0]._asdict()


def _baseline_labels(baseline: Json) -> RowLabels | None:
    if isinstance(baseline, Mapping):
        return {"transfer": str(baseline.get("transfer"))}
    return {"source": str(baseline)} if baseline else None


def _row_labels(value: Json) -> RowLabels | None:
    if not isinstance(value, Mapping):
        return None
    return {axis: str(label) for axis, label in value.items()}


def _as_labels(value: Json) -> tuple[str | int, ...]:
    labels = value if isinstance(value, list | tuple) else [value]
    return tuple(label for label in labels if isinstance(label, str | int))


def _is_answer(value: Json) -> bool:
    """Return whether a plan's `answer` has the fields of one: plans come from elsewhere too."""
    if not isinstance(value, Mapping):
        return False
    metric, at = value.get("metric"), value.get("at", {})
    if isinstance(metric, Mapping):
        metric = metric.get("lowest")
    sides = [value[side] for side in ("of", "against") if side in value]
    return (
        isinstance(metric, str | None)
        and isinstance(at, Mapping)
        and at.keys() <= set(ANSWER_AXES)
        and all(isinstance(side, Mapping) and side.keys() <= set(ROW_AXES) for side in sides)
    )
