"""Published tables as data: figures as others report them, shown beside measured ones and never ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from advtransfer.suite.extends import suites_folder

REQUIRED_FIELDS = ("title", "citation", "source", "tables")
CITATION_FIELDS = ("authors", "venue", "year", "url")
TABLE_FIELDS = ("title", "where", "unit", "columns", "rows")


@dataclass(frozen=True, slots=True)
class ReportedTable:
    """One table of a publication.

    Attributes:
        title: What the figures are.
        where: Table or figure of the publication.
        unit: Unit of the figures.
        columns: Names of the columns.
        rows: Values by row; None for one that is not reported.
        doubt: Why the figures should be doubted, empty where nothing is known.
    """

    title: str
    where: str
    unit: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class ReportedResults:
    """The tables of a publication, with its citation.

    Attributes:
        name: Name that `leaderboard.reported` chooses it by.
        title: Title of the publication.
        citation: Authors, venue, year and URL.
        source: Where the figures were read.
        tables: The tables.
        corrections: Errors of the publication that were corrected here.
        doubts: What a reader should know of all tables.
    """

    name: str
    title: str
    citation: Mapping[str, str]
    source: str
    tables: tuple[ReportedTable, ...]
    corrections: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def reported_names() -> list[str]:
    """Return the names of the publications that are shipped, sorted."""
    return sorted(path.stem for path in _reported_folder().glob("*.yaml"))


@cache
def read_reported(name: str) -> ReportedResults | None:
    """Return the shipped tables of a publication, None for an unknown name.

    Raises:
        ValueError: The shipped file is malformed.
    """
    if name not in reported_names():
        return None
    value = yaml.safe_load((_reported_folder() / f"{name}.yaml").read_text("utf-8"))
    faults = list(reported_faults(value))
    if faults:
        raise ValueError(f"{name}: {'; '.join(faults)}")
    return ReportedResults(
        name,
        value["title"],
        {field: str(value["citation"][field]) for field in CITATION_FIELDS},
        value["source"],
        tuple(ReportedTable(**table) for table in value["tables"]),
        tuple(value.get("corrections", ())),
        tuple(value.get("doubts", ())),
    )


def reported_faults(value: Any) -> Iterator[str]:  # noqa: ANN401  # Any: YAML
    """Yield what is wrong in the content of a file of reported tables."""
    missing = [field for field in REQUIRED_FIELDS if field not in value]
    missing += [f"citation.{field}" for field in CITATION_FIELDS if field not in value["citation"]]
    if missing:
        yield f"found no {', '.join(missing)}; expected all of them"
        return
    for table in value["tables"]:
        if lacking := [field for field in TABLE_FIELDS if field not in table]:
            yield f"found a table without {', '.join(lacking)}; expected all of them"
            continue
        for row in table["rows"]:
            if len(row) != len(table["columns"]):
                expected = f"{len(table['columns'])} values"
                yield f"found the row {row} in {table['title']!r}; expected {expected}"


def _reported_folder() -> Path:
    return suites_folder() / "reported"
