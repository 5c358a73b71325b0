"""The pairs of ranked rows that a contrast compares, their mean difference, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advtransfer.leaderboard.aggregates import Aggregate, MetricPair, mean_paired_difference
from advtransfer.leaderboard.baselines import SIGNIFICANCE_LEVEL
from advtransfer.leaderboard.contrasts import AnswerVerdict, Contrast, RowLabels, RowName
from advtransfer.leaderboard.ranking import (
    Ranking,
    TableLine,
    rank_rows,
    requested_ranking,
)
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    TablePlace,
    columns_of,
    find_column,
    group_rows,
)


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
        return mean_paired_difference(
            self.metric_pairs(data),
            deterministic=all(row.is_deterministic(data) for row in self.rows),
            has_trainings=all(row.source is not None for row in self.rows),
        )

    @property
    def rows(self) -> list[LeaderboardRow]:
        """Both rows of each pair."""
        return [row for pair in self.pairs for row in (pair.line.row, pair.other.row)]

    def metric_pairs(self, data: RunData) -> dict[str, list[MetricPair]]:
        """Return the metrics of both rows of each pair, by target."""
        by_target: dict[str, list[MetricPair]] = {}
        column = self.ranking.column
        for pair in self.pairs:
            metrics = [each.row.metric_values(column, data) for each in (pair.line, pair.other)]
            by_target.setdefault(pair.place[0], []).append((metrics[0], metrics[1]))
        return by_target

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


@dataclass(frozen=True, slots=True)
class RankedTables:
    """The tables of a page, whose rows are ranked once for all that is read from them."""

    ranking: Ranking | None
    columns: Sequence[Column]
    lines: Mapping[TablePlace, Sequence[TableLine]]

    def ranked_by(self, ranking: Ranking, place: TablePlace, data: RunData) -> Sequence[TableLine]:
        """Return the lines of one table ranked by a column, anew if the page ranks by another."""
        lines = self.lines[place]
        if ranking == self.ranking:
            return lines
        rows = [line.row for line in lines]
        return rank_rows(rows, columns=self.columns_with(ranking), ranking=ranking, data=data)

    def columns_with(self, ranking: Ranking) -> list[Column]:
        """Return the columns of the page, the ranking one first where it is not among them."""
        key = ranking.column.key
        columns = [ranking.column if column.key == key else column for column in self.columns]
        return columns if ranking.column in columns else [ranking.column, *columns]


def rank_tables(data: RunData) -> RankedTables:
    """Return all tables of a run, ranked as the suite requests.

    Raises:
        BadInput: A column is not in the records.
    """
    columns, ranking = columns_of(data), requested_ranking(data)
    lines = {
        place: rank_rows(rows, columns=columns, ranking=ranking, data=data)
        for place, rows in group_rows(data).items()
    }
    return RankedTables(ranking, columns, lines)


def compare_rows(contrast: Contrast, data: RunData, tables: RankedTables) -> Comparison:
    """Return the pairs of ranked rows that a contrast compares.

    Rows without a battery are no evidence, as those that are not ranked.

    Raises:
        BadInput: Its metric is not in the records.
    """
    ranking = Ranking(find_column(contrast.metric, data), contrast.lowest_is_best)
    places = contrast.selected_places(tables.lines)
    lines = {
        place: {line.row: line for line in tables.ranked_by(ranking, place, data)}
        for place in places
    }
    if contrast.of is None:
        return _compare_best(contrast, ranking, lines)
    pairs, left_out = _paired_lines(contrast, ranking, lines)
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
        pairs, _ = _paired_lines(of_name, ranking, lines)
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


def _paired_lines(
    contrast: Contrast,
    ranking: Ranking,
    lines: Mapping[TablePlace, Mapping[LeaderboardRow, TableLine]],
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
            if is_ranked(pair.line, ranking) and is_ranked(pair.other, ranking):
                pairs.append(pair)
            else:
                left_out += 1
    return pairs, left_out


def is_ranked(line: TableLine, ranking: Ranking) -> bool:
    """Return whether a row is ranked and, for a robust accuracy, attacked by the host itself."""
    cell = line.cells.get(ranking.column.name)
    if line.rank_range is None or cell is None:
        return False
    return cell.probe is None or cell.probe.count > 0


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
            if is_ranked(line, ranking):
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


def _labels_of(names: Sequence[RowName]) -> RowLabels | None:
    """Return the labels of the first of some rows, None without any."""
    if not names:
        return None
    return names[0]._asdict()
