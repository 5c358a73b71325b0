"""``advtransfer export``: a run's numbers for other programs, papers and browsers."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_run
from advtransfer.cli.output import print_note, print_product, product_stream
from advtransfer.export import (
    EXPORT_FORMATS,
    EXPORT_TABLES,
    export_run,
    export_to_path,
    require_exportable,
)
from advtransfer.result import Run
from advtransfer.text import printable_text


@click.command(cls=Subcommand, short_help="Export a run as CSV, Parquet, JSON, LaTeX or HTML.")
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path), shell_complete=complete_run)
@click.option(
    "--table",
    type=click.Choice(list(EXPORT_TABLES)),
    default="metrics",
    show_default=True,
    help="metrics: a line a trial and metric; outcomes: a line an image.",
)
@click.option(
    "--format",
    type=click.Choice(list(EXPORT_FORMATS)),
    required=True,
    help="What to write; parquet needs pyarrow, outcomes are csv, parquet or json.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    help="The file to write; - is standard output.",
)
def command(path: Path, table: str, format: str, out: Path) -> None:
    """Export RUN, a run folder (such as runs/quickstart) or a published bundle.

    csv, parquet and json have the columns that docs/export.md lists. latex has the tables of the
    page for a paper, html the whole page with the evidence of every row in one file.
    """
    target = None if str(out) == "-" else out
    require_exportable(table, format, target)
    run = Run.open(path)
    for location, reason in run.damaged_records().items():
        _print_warning(f"{run.path / location}: {reason}; left out")
    if target is None:
        _export_to_stdout(run, table=table, format=format)
    else:
        export_to_path(run, target, table=table, format=format, warn=_print_warning)
        print_product(str(target))


def _export_to_stdout(run: Run, *, table: str, format: str) -> None:
    stream = product_stream()
    stream.flush()
    # The bytes of the file, whatever encoding and line ends a terminal has.
    export_run(run, stream.buffer, table=table, format=format, warn=_print_warning)
    stream.buffer.flush()


def _print_warning(text: str) -> None:
    print_note(f"warning: {printable_text(text)}")
