"""``advtransfer plan``: show the trials of a suite, and which are done."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.api.plan import plan_suite
from advtransfer.cli.arguments import runs_option
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_product


@click.command(cls=Subcommand, short_help="Show the trials of a suite, and which are done.")
@click.argument("suite")
@runs_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="{suite, trials: [{id, source, ..., state, reason}], stale, warnings: [{kind, text}]}.",
)
def command(suite: str, runs: Path, as_json: bool) -> None:
    """Show the trials of SUITE (a file, or the name of a shipped suite) by status.

    A trial is done, failed, skipped or to do. What the page will not be able to show is warned of.
    Nothing is run. A grid of more than 200 trials is
    shown as its axes, counts and reasons.
    """
    table = plan_suite(suite, runs=runs)
    if as_json:
        print_json(table.data)
    else:
        print_product(str(table))
