"""Evidence behind the rows of the results tables, as data that an HTML page looks up by row.

A row's evidence are the exported lines of its trials (see `advtransfer.export.rows`), the checks of
their results, and the environments that they were measured in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import isfinite

from advtransfer.export.rows import METRIC_COLUMNS, metric_rows
from advtransfer.leaderboard.markdown import escape_markdown
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, group_rows
from advtransfer.text import ABSENT, printable_text
from advtransfer.types import Json

NAME_AXES = ("source", "adapter", "transfer")


class EvidenceIndex:
    """Finds the row of a results table by the texts of its cells, and its evidence.

    Args:
        data: The run, gathered with its checks.
    """

    def __init__(self, data: RunData) -> None:
        self._data = data
        self._rows: dict[str, list[LeaderboardRow]] = {}
        self._titles: dict[str, list[LeaderboardRow]] = {}
        self._keys: dict[LeaderboardRow, str] = {}
        for (target, n), rows in group_rows(data).items():
            self._rows[f"### {escape_markdown(target)}, n = {n}"] = rows
            self._titles[f"{_page_text(target)}, n = {n}"] = rows
            for row in rows:
                self._keys[row] = f"r{len(self._keys)}"

    @property
    def headings(self) -> Collection[str]:
        """The headings of the results tables, as the page writes them."""
        return self._rows.keys()

    def rows_under(self, heading: str) -> Sequence[LeaderboardRow]:
        """Return the rows of the tables under a heading (in markdown); none under another one."""
        return self._rows.get(heading, ())

    def rows_announced(self, sentence: str) -> Sequence[LeaderboardRow]:
        """Return the rows of the table that a sentence announces: ``Best rows on t, n = 100:``."""
        for title, rows in self._titles.items():
            if sentence.endswith(f" {title}:"):
                return rows
        return ()

    def row_key(self, rows: Sequence[LeaderboardRow], cells: Mapping[str, str]) -> str | None:
        """Return the key of the row whose names are in these cells, None where there is none.

        A cell may have marks behind its name; the longest name that it begins with is meant.
        """
        matches = [row for row in rows if all(_has_name(row, axis, cells) for axis in NAME_AXES)]
        row = max(matches, key=lambda row: sum(map(len, _row_names(row))), default=None)
        return None if row is None else self._keys[row]

    def to_json(self) -> Json:
        """Return all evidence: the lines of each row, checks by result, environments by digest.

        Lines are lists of values in the order of `columns`; texts that occur often (ids, reasons)
        are numbers that point into `texts`.
        """
        names = [column.name for column in METRIC_COLUMNS]
        is_text = [column.type == "text" for column in METRIC_COLUMNS]
        texts: dict[str, int] = {}
        lines: dict[str, list[Json]] = {}
        for line in metric_rows(self._data):
            values: list[Json] = []
            for name, indexed in zip(names, is_text, strict=True):
                value = line[name]
                if indexed and value is not None:
                    value = texts.setdefault(str(value), len(texts))
                values.append(value)
            lines.setdefault(str(line["trial"]), []).append(values)
        rows: dict[str, Json] = {}
        for row, key in self._keys.items():
            rows[key] = [line for trial in row.trials for line in lines.get(trial.id, [])]
        return {
            "columns": names,
            "is_text": is_text,
            "rows": rows,
            "checks": self._checks_json(texts),
            "texts": list(texts),
            "environments": {
                digest: dict(environment)
                for digest, environment in sorted(self._data.environments.items())
            },
        }

    def _checks_json(self, texts: dict[str, int]) -> Json:
        """Return the checks of each result: name, grade, value, limit, samples and text of each."""
        checks: dict[str, Json] = {}
        for id, result in sorted(self._data.results.items()):
            lists: list[Json] = []
            for check in result.checks:
                name, grade, text = (
                    texts.setdefault(each, len(texts))
                    for each in (check.name, check.grade, check.text)
                )
                # JSON has no infinity, which is then a text.
                value, limit = (
                    each if isfinite(each) else str(each) for each in (check.value, check.limit)
                )
                lists.append([name, grade, value, limit, check.samples, text])
            if lists:
                checks[id] = lists
        return checks


def _row_names(row: LeaderboardRow) -> tuple[str, str, str]:
    return row.source or "", row.adapter or "", row.transfer


def _has_name(row: LeaderboardRow, axis: str, cells: Mapping[str, str]) -> bool:
    """Return whether a cell holds a row's name on an axis; a table leaves out axes without names."""
    name = _row_names(row)[NAME_AXES.index(axis)]
    if axis not in cells:
        return not name
    # As the page writes it: on one line.
    name = _page_text(name) or ABSENT
    return cells[axis] == name or cells[axis].startswith(f"{name} ")


def _page_text(name: str) -> str:
    """Return a label as the page shows it: printable, on one line."""
    return " ".join(printable_text(name).split())
