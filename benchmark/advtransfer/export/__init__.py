"""Exports of a run for other programs, papers and browsers: CSV, Parquet, JSON, LaTeX, HTML."""

from advtransfer.export.rows import EXPORT_TABLES, ExportColumn, metric_rows, outcome_rows
from advtransfer.export.run_export import (
    EXPORT_FORMATS,
    export_run,
    export_to_path,
    require_exportable,
)

__all__ = [
    "EXPORT_FORMATS",
    "EXPORT_TABLES",
    "ExportColumn",
    "export_run",
    "export_to_path",
    "metric_rows",
    "outcome_rows",
    "require_exportable",
]
