"""The section of a page with figures that others report: cited, doubted where due, and never ranked."""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.leaderboard.markdown import escape_markdown, join_parts, markdown_table
from advtransfer.leaderboard.run_data import RunData
from advtransfer.suite.reported_tables import ReportedResults, ReportedTable, read_reported
from advtransfer.text import ABSENT

DOUBT_MARK = "(!)"


def reported_section(data: RunData) -> str:
    """Return the tables that the suite chooses, empty without any."""
    names = data.plan.leaderboard.get("reported")
    if not isinstance(names, list | tuple):
        return ""
    # The plan of a foreign run may name anything; only what is shipped here is shown.
    chosen = [read_reported(str(name)) for name in names]
    texts = [publication_text(results) for results in chosen if results is not None]
    if not texts:
        return ""
    note = (
        "**As reported, not measured here**: other code, data and attacks. These figures are never ranked with "
        "measured rows."
    )
    return join_parts(["## Reported elsewhere", note, *texts])


def publication_text(results: ReportedResults) -> str:
    """Return the citation and the tables of a publication in markdown."""
    citation = results.citation
    heading = (
        f"{escape_markdown(citation['authors'])}: *{escape_markdown(results.title)}*. "
        f"{escape_markdown(citation['venue'])}, {citation['year']}. <{citation['url']}>. "
        f"Figures from {escape_markdown(results.source)}."
    )
    remarks = [f"- Corrected: {escape_markdown(text)}" for text in results.corrections]
    remarks += [f"- {DOUBT_MARK} {escape_markdown(text)}" for text in results.doubts]
    return join_parts([heading, "\n".join(remarks), *_table_texts(results)])


def _table_texts(results: ReportedResults) -> Iterator[str]:
    for table in results.tables:
        mark = f" {DOUBT_MARK}" if table.doubt else ""
        title = f"### {escape_markdown(table.title)}{mark}"
        caption = f"As reported in {escape_markdown(table.where)}; {escape_markdown(table.unit)}."
        doubt = f"{DOUBT_MARK} {escape_markdown(table.doubt)}" if table.doubt else ""
        yield join_parts([title, _table_text(table), join_parts([caption, doubt], " ")])


def _table_text(table: ReportedTable) -> str:
    rows = [[_cell_text(value) for value in row] for row in table.rows]
    right = [not isinstance(value, str) for value in table.rows[0]]
    return markdown_table([escape_markdown(name) for name in table.columns], rows, right=right)


def _cell_text(value: str | float | None) -> str:
    if value is None:
        return ABSENT
    return escape_markdown(value) if isinstance(value, str) else f"{value:,}"
