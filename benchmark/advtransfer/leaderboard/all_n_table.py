"""One table of a metric over all n of a target: a row a line, an n a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advtransfer.leaderboard.markdown import (
    escape_markdown,
    inline_code,
    join_parts,
    markdown_table,
)
from advtransfer.leaderboard.ranking import TableLine
from advtransfer.leaderboard.row_comparison import RankedTables
from advtransfer.leaderboard.tables import cell_text
from advtransfer.text import ABSENT
from advtransfer.types import Json

MIN_SIZES = 2
NAME_AXES = ("source", "adapter", "transfer")
NOTE = "Numbers, intervals and marks are those of the tables of each n, with their captions."


def all_n_section(leaderboard: Mapping[str, Json], tables: RankedTables) -> str:
    """Return a table for each requested metric and each target with several n, empty without any.

    Rows are in the order of the table of the largest n that has them.

    Args:
        leaderboard: The settings of the plan, with the metrics in ``all_n``.
        tables: The tables of the page.
    """
    metrics = leaderboard.get("all_n")
    lines_by_n: dict[str, dict[int | str, Sequence[TableLine]]] = {}
    for (target, n), lines in tables.lines.items():
        lines_by_n.setdefault(target, {})[n] = lines
    parts = [
        f"### {escape_markdown(target)}: {inline_code(str(metric))}\n\n"
        f"{_all_n_table(str(metric), by_n)}"
        for metric in (metrics if isinstance(metrics, list) else [])
        for target, by_n in lines_by_n.items()
        if len(by_n) >= MIN_SIZES
    ]
    return join_parts(["## All n", *parts, NOTE]) if parts else ""


def _all_n_table(metric: str, lines_by_n: Mapping[int | str, Sequence[TableLine]]) -> str:
    cells: dict[tuple[str | None, ...], dict[int | str, str]] = {}
    # The order in which rows are met is that of the table: the best at the largest n first.
    for n in reversed(list(lines_by_n)):
        for line in lines_by_n[n]:
            names = (line.row.source, line.row.adapter, line.row.transfer)
            cells.setdefault(names, {})[n] = cell_text(line, metric)
    shown = [place for place in range(len(NAME_AXES)) if any(names[place] for names in cells)]
    header = [NAME_AXES[place] for place in shown]
    rows = [
        [escape_markdown(names[place] or ABSENT) for place in shown]
        + [by_n.get(n, ABSENT) for n in lines_by_n]
        for names, by_n in cells.items()
    ]
    right = [False] * len(header) + [True] * len(lines_by_n)
    return markdown_table([*header, *(f"n = {n}" for n in lines_by_n)], rows, right=right)
