"""Tables that a shell shows as aligned columns and a notebook as HTML; all text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

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
        self.columns = list(columns)
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
        return printable_text(align_columns(self.columns, self._cells()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self.columns, list(self._cells()))

    def _cells(self) -> Iterator[list[str]]:
        for row in self._rows:
            yield [_cell_text(row.get(name)) for name in self.columns]


class CheckTable(Table):
    """The rules or models of a check, a line each; `ok` is True where every one passes."""

    ok: bool = True


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return plain texts as an HTML table."""
    # Imported here, so that commands that only print their tables do not wait for it.
    from advtransfer.export.html_page import escape_html

    return table_element(
        [escape_html(text) for text in header],
        [[escape_html(text) for text in row] for row in rows],
    )


def table_element(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return cells that are HTML already as a table."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _cell_text(value: Json) -> str:
    return ABSENT if value is None else str(value)
