"""``advtransfer leaderboard``: the pages of runs, from their records."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import echo, note
from advtransfer.leaderboard import publish, write_page
from advtransfer.printable import printable
from advtransfer.result import Run


@click.command(cls=Subcommand, short_help="The pages of one or more runs, from their records.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Publish there: each run's records and page, and an index of all pages.",
)
def command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Render the leaderboard of each RUN (a folder such as runs/quickstart) from its plan and records alone.

    Without --out a page is written into its run's folder, figures beside it, and printed. The same records give the
    same bytes on any machine.
    """
    for run in [Run.open(path) for path in runs]:
        for place, reason in run.damaged().items():
            _warn(f"{run.path / place}: {reason}; left out")
        if out:
            echo(str(publish(run, out, warn=_warn)))
        else:
            echo(write_page(run, warn=_warn).read_text(encoding="utf-8"), newline=False)


def _warn(text: str) -> None:
    note(f"warning: {printable(text)}")
