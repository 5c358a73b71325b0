"""``advtransfer merge``: join the run folders of one suite."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from advtransfer.api.report import open_run
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_run
from advtransfer.cli.output import print_json, print_note, print_product
from advtransfer.runner.merge import merge_runs
from advtransfer.text import printable_text


@click.command(cls=Subcommand, short_help="Join the run folders of one suite.")
@click.argument(
    "runs",
    metavar="RUN...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=complete_run,
)
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write, which must not exist.",
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Join other devices, thread counts, precisions, batteries and environments too.",
)
@click.option("--json", "as_json", is_flag=True, help="{run, records, shared, attempts, page}.")
def command(runs: tuple[Path, ...], into: Path, mixed: bool, as_json: bool) -> None:
    """Join each RUN (a folder such as runs/quickstart) by the ids of its records.

    The folders are those of one suite, run in parts: with --only, or with --shard on machines without a shared
    folder. Records that contradict each other are refused by name. The new folder is written whole or not at all,
    and `advtransfer run` continues in it.
    """
    summary = merge_runs(runs, into, mixed=mixed, warn=_print_warning)
    if as_json:
        print_json(asdict(summary), default=str)
        return
    counts = f"{summary.records} records ({summary.shared} of them in more than one folder)"
    print_product(f"joined {len(runs)} folders: {counts}, {summary.attempts} attempts")
    print_product(str(open_run(into)))


def _print_warning(text: str) -> None:
    print_note(f"warning: {printable_text(text)}")
