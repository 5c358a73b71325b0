"""``advtransfer plan``: show the trials of a suite, and which are done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import click

from advtransfer.api.plan import plan_suite
from advtransfer.cli.arguments import runs_option
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_suite
from advtransfer.cli.output import print_json, print_product
from advtransfer.runner.sbatch import sbatch_options, sbatch_script


@click.command(cls=Subcommand, short_help="Show the trials of a suite, and which are done.")
@click.argument("suite", shell_complete=complete_suite)
@runs_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="{suite, trials: [{id, source, ..., state, reason}], stale, warnings: [{kind, text}]}.",
)
@click.option(
    "--sbatch",
    is_flag=False,
    flag_value="",
    metavar="[NAME=VALUE]",
    help="Print a file for Slurm's sbatch instead: after SUITE, as --sbatch n=8,partition=gpu,time=8:00:00.",
)
def command(suite: str, runs: Path, as_json: bool, sbatch: str | None) -> None:
    """Show the trials of SUITE (a file, or the name of a shipped suite) by status.

    A trial is done, failed, skipped or to do. What the page will not be able to show is warned of.
    Nothing is run. A grid of more than 200 trials is
    shown as its axes, counts and reasons.
    """
    options = None if sbatch is None else sbatch_options(sbatch)
    table = plan_suite(suite, runs=runs)
    if options is not None:
        name = cast("Mapping[str, str]", table.data)["suite"]
        script = sbatch_script(suite, name=name, runs=runs, trials=len(table), options=options)
        print_product(script, newline=False)
    elif as_json:
        print_json(table.data)
    else:
        print_product(str(table))
