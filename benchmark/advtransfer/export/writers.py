"""Writers of tables for other programs: CSV, JSON and Parquet, in constant memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from io import TextIOWrapper
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from advtransfer.errors import MissingLibrary
from advtransfer.export.rows import ExportCell, ExportColumn, ExportRow
from advtransfer.text import printable_text

if TYPE_CHECKING:
    import pyarrow

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  # they are meant
"""First characters with which a spreadsheet reads a text as a formula, full-width ones included."""

PARQUET_INSTALL = "pip install 'advtransfer[parquet]'"
PARQUET_BATCH = 50_000
"""Lines in one row group of a Parquet file; as many are in memory at once."""


def write_csv(rows: Iterable[ExportRow], columns: Sequence[ExportColumn], file: BinaryIO) -> None:
    """Write lines as CSV (RFC 4180) in UTF-8, with a header; absent values are empty cells."""
    text = TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
    try:
        writer = csv.writer(text)
        names = [column.name for column in columns]
        writer.writerow(names)
        for row in rows:
            writer.writerow([csv_cell(row[name]) for name in names])
    finally:
        text.detach()  # the file is the caller's to close


def csv_cell(value: ExportCell) -> ExportCell:
    """Return a value that no spreadsheet reads as a formula; numbers stay numbers.

    Texts get an apostrophe in front where they begin like a formula, or with an apostrophe, so
    that a reader finds the text again by removing one.
    """
    return _csv_text(value) if isinstance(value, str) else value


@lru_cache(maxsize=4096)  # labels and ids occur in many lines
def _csv_text(value: str) -> str:
    text = printable_text(value)
    # The raw text is asked too: a control sequence before a formula is removed from the text.
    is_formula = text.startswith(FORMULA_STARTS) or value.startswith(FORMULA_STARTS)
    return f"'{text}" if is_formula or text.startswith("'") else text


def write_json(rows: Iterable[ExportRow], columns: Sequence[ExportColumn], file: BinaryIO) -> None:
    """Write lines as a JSON array of objects, one a line, in ASCII."""
    del columns  # each object names its own
    separator = "["
    for row in rows:
        line = json.dumps(row, ensure_ascii=True, allow_nan=False)
        file.write(f"{separator}\n{line}".encode("ascii"))
        separator = ","
    file.write(b"[]\n" if separator == "[" else b"\n]\n")


def write_parquet(
    rows: Iterable[ExportRow], columns: Sequence[ExportColumn], file: BinaryIO
) -> None:
    """Write lines as Parquet, in row groups of `PARQUET_BATCH` lines.

    Raises:
        MissingLibrary: pyarrow is not installed.
    """
    require_pyarrow()
    import pyarrow
    from pyarrow import parquet

    schema = _arrow_schema(columns)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in _batches(rows, PARQUET_BATCH):
            arrays = []
            for field in schema:
                values = [_arrow_value(row[field.name]) for row in batch]
                arrays.append(pyarrow.array(values, type=field.type))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def require_pyarrow() -> None:
    """Raise where Parquet cannot be written.

    Raises:
        MissingLibrary: pyarrow is not installed; names the command that installs it.
    """
    try:
        import pyarrow.parquet  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise MissingLibrary("pyarrow", "--format parquet", PARQUET_INSTALL) from error


def _arrow_schema(columns: Sequence[ExportColumn]) -> pyarrow.Schema:
    """Return the schema of the columns, with their meanings as metadata."""
    import pyarrow

    types = {"text": pyarrow.string(), "integer": pyarrow.int64(), "number": pyarrow.float64()}
    fields = []
    for column in columns:
        metadata = {"meaning": column.meaning}
        fields.append(pyarrow.field(column.name, types[column.type], metadata=metadata))
    return pyarrow.schema(fields)


def _arrow_value(value: ExportCell) -> ExportCell:
    # Lone surrogates, which foreign labels may hold, have no UTF-8.
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _batches(rows: Iterable[ExportRow], size: int) -> Iterator[list[ExportRow]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch
