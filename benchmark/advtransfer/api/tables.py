"""Tables that a shell shows as aligned columns and a notebook as HTML; all text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from advtransfer.export.html_page import escape_html, text_html
from advtransfer.export.page_blocks import Folded, Heading, PageTable, parse_page
from advtransfer.text import ABSENT, align_columns, printable_text
from advtransfer.types import Json


class Table(Sequence[Mapping[str, Json]]):
    """Lines, each a mapping of column to value, which a shell and a notebook show as a table.

    Args:
        rows: The lines.
        columns: The columns that are shown; a line may have more.
        text: What a shell shows in place of the columns: the text of the command.
        data: The same as the command's ``--json`` prints, where it has that option.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Json]],
        *,
        columns: Sequence[str],
        text: str | None = None,
        data: Json = None,
    ) -> None:
        self._rows = list(rows)
        self._columns = list(columns)
        self._text = text
        self.data = data

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Json]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Mapping[str, Json]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Json] | list[Mapping[str, Json]]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        if self._text is not None:
            return printable_text(self._text)
        return printable_text(align_columns(self._columns, self._cells()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._columns, list(self._cells()))

    def _cells(self) -> Iterator[list[str]]:
        for row in self._rows:
            yield [_cell_text(row.get(name)) for name in self._columns]


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return plain texts as an HTML table."""
    return _table_element(
        [escape_html(text) for text in header],
        [[escape_html(text) for text in row] for row in rows],
    )


def page_tables_html(lines: str, markdown: str) -> str:
    """Return the tables of a page under their headings, after the last lines of its run.

    What the page folds away is left out.
    """
    parts = [f"<pre>{escape_html(lines)}</pre>"]
    heading, depth = "", 0
    for block in parse_page(markdown):
        match block:
            case Folded(summary):
                depth += 1 if summary is not None else -1
            case Heading():
                heading = f"<h4>{text_html(block.text)}</h4>"
            case PageTable() if not depth:
                header = [text_html(text) for text in block.header]
                rows = [[text_html(cell) for cell in row] for row in block.rows]
                parts += [heading, _table_element(header, rows)]
                heading = ""
    return "\n".join(filter(None, parts))


def _table_element(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return cells that are HTML already as a table."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _cell_text(value: Json) -> str:
    return ABSENT if value is None else str(value)
