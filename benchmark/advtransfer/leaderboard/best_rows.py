"""The best rows that the top of a page and the index show: the same, by one rule.

They are the first ranked rows of each target's table at the largest n that the answer is about, ranked by the
answer's metric. Where the answer is none of rows, they are those of the suite's `rank_by`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advtransfer.leaderboard.answer import Answer, row_text
from advtransfer.leaderboard.baselines import requested_baselines
from advtransfer.leaderboard.contrasts import read_contrast
from advtransfer.leaderboard.markdown import count_noun, escape_markdown, inline_code, join_parts
from advtransfer.leaderboard.ranking import Ranking, TableLine
from advtransfer.leaderboard.row_comparison import RankedTables, compare_rows, is_ranked
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import TablePlace
from advtransfer.leaderboard.tables import cell_text, rank_text, render_table

MAX_ROWS = 3
MAX_TABLES = 5


@dataclass(frozen=True, slots=True)
class BestRows:
    """The best rows of one table.

    Attributes:
        place: Target and n of the table.
        ranking: What they are ranked by.
        lines: The ranked rows, best first; at least one.
    """

    place: TablePlace
    ranking: Ranking
    lines: Sequence[TableLine]


def find_best_rows(answer: Answer | None, data: RunData, tables: RankedTables) -> list[BestRows]:
    """Return the best rows of each target that has ranked rows."""
    comparison = None if answer is None else answer.comparison
    if comparison is None:
        settings = {key: data.plan.leaderboard.get(key) for key in ("rank_by", "baseline")}
        contrast = read_contrast(settings)
        if contrast is None:
            return []
        comparison = compare_rows(contrast, data, tables)
    # Places are in order of n, so that the last one of a target has the largest.
    places = {target: (target, n) for target, n in comparison.places}
    ranking = comparison.ranking
    found: list[BestRows] = []
    for place in places.values():
        lines = tables.ranked_by(ranking, place, data)
        ranked = [line for line in lines if is_ranked(line, ranking)]
        if ranked:
            found.append(BestRows(place, ranking, ranked))
    return found


def best_rows_section(best: Sequence[BestRows], data: RunData, tables: RankedTables) -> str:
    """Return a table of the best rows of each target, empty without any."""
    parts = []
    for each in best[:MAX_TABLES]:
        table = render_table(
            each.lines[:MAX_ROWS],
            columns=tables.columns_with(each.ranking),
            ranking=each.ranking,
            baselines=requested_baselines(data.plan.leaderboard),
            seconds=False,
            captioned=False,
        )
        parts.append(f"Best rows {_place_text(each, tables)}:\n\n{table}")
    return join_parts([*parts, _omission_text(best)])


def best_row_text(best: Sequence[BestRows], tables: RankedTables) -> str:
    """Return a sentence for each target with its best row, its number and its ranks; empty without any."""
    sentences: list[str] = []
    for each in best[:MAX_TABLES]:
        line = each.lines[0]
        name = each.ranking.column.name
        number, ranks = cell_text(line, name), rank_text(line, name=name)
        count = "" if line.group is None else f" of {line.group.row_count}"
        sentences.append(
            f"Best row {_place_text(each, tables)}: {row_text(line.row)}, {number}, rank {ranks}{count}."
        )
    return join_parts([*sentences, _omission_text(best)], " ")


def _place_text(best: BestRows, tables: RankedTables) -> str:
    """Return ``by `clean.accuracy` on digits, n = 20``, and by what the tables are ranked where that is another."""
    ranking = best.ranking
    target, n = best.place
    text = f"by {_ranking_text(ranking)} on {escape_markdown(target)}, n = {n}"
    if tables.ranking is not None and tables.ranking != ranking:
        text += f" (the tables of results are ranked by {_ranking_text(tables.ranking)})"
    return text


def _ranking_text(ranking: Ranking) -> str:
    name = inline_code(ranking.column.name)
    return f"{name} (lower is better)" if ranking.lowest_is_best else name


def _omission_text(best: Sequence[BestRows]) -> str:
    more = len(best) - MAX_TABLES
    return f"{count_noun(more, 'more target')} in the tables of results." if more > 0 else ""
