"""Exported tables as pandas data frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from advtransfer.errors import MissingLibrary
from advtransfer.export.rows import ExportColumn, ExportRow

if TYPE_CHECKING:
    import pandas

PANDAS_INSTALL = "pip install 'advtransfer[pandas]'"
PANDAS_TYPES = {"text": "object", "integer": "Int64", "number": "float64"}
"""Types of the columns; ``Int64`` is the integer that may be absent."""


def table_frame(rows: Iterable[ExportRow], columns: Sequence[ExportColumn]) -> pandas.DataFrame:
    """Return lines as a data frame with all columns, also where there are no lines.

    Raises:
        MissingLibrary: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingLibrary("pandas", "report.frame()", PANDAS_INSTALL) from error
    frame = pandas.DataFrame(list(rows), columns=[column.name for column in columns])
    return frame.astype({column.name: PANDAS_TYPES[column.type] for column in columns})
