"""Exports of a run for other programs and for papers: CSV, Parquet, JSON, LaTeX and one HTML file."""

from advtransfer.export.rows import (
    METRIC_COLUMNS,
    OUTCOME_COLUMNS,
    ExportColumn,
    metric_rows,
    outcome_rows,
)

__all__ = [
    "METRIC_COLUMNS",
    "OUTCOME_COLUMNS",
    "ExportColumn",
    "metric_rows",
    "outcome_rows",
]
