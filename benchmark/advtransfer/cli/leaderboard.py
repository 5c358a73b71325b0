"""``advtransfer leaderboard``: render the pages of runs from their records."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_run
from advtransfer.cli.output import print_note, print_product
from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard import write_page
from advtransfer.result import Run
from advtransfer.text import printable_text


@click.command(cls=Subcommand, short_help="Render the pages of runs from their records.")
@click.argument(
    "runs",
    metavar="RUN...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=complete_run,
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    hidden=True,
    help="Replaced by `advtransfer publish`.",
)
def command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Render the page of each RUN (a folder such as runs/quickstart) from its plan and records.

    A page is written into its run's folder with its figures beside it, and printed.
    The same records give the same bytes on any machine.
    """
    if out is not None:
        raise BadInput([_replaced_option(runs[0], out)])
    for run in [Run.open(path) for path in runs]:
        for path, reason in run.damaged_records().items():
            _print_warning(f"{run.path / path}: {reason}; left out")
        page = write_page(run, warn=_print_warning)
        print_product(page.read_text(encoding="utf-8"), newline=False)


def _replaced_option(run: Path, out: Path) -> Problem:
    line = f"advtransfer publish {run} --name NAME --who WHO --licence SPDX --citation FILE"
    return Problem("--out", "a command of its own", f"run: {line} --into {out}")


def _print_warning(text: str) -> None:
    print_note(f"warning: {printable_text(text)}")
