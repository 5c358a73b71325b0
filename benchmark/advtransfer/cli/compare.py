"""``advtransfer compare``: what differs between two runs or rows, and whether it matters."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_product
from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.run_comparison import compare_runs
from advtransfer.result import Run


@click.command(cls=Subcommand, short_help="Show what differs between two runs or rows.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path), required=False)
@click.option(
    "--rows",
    nargs=2,
    metavar="X Y",
    help="Compare row X of FIRST with row Y of SECOND (or of FIRST), such as 'natural probe'.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="{causes, comparisons, unmatched, unmeasured}."
)
def command(first: Path, second: Path | None, rows: tuple[str, str] | None, as_json: bool) -> None:
    """Show what differs between FIRST and SECOND, run folders or published bundles.

    The likeliest cause comes first: suite, options, plugins, libraries, device, processor, threads, data,
    weights, seeds, battery. Then the differences in results, paired by training, seed and test image where
    both sides have them, and whether they are beyond noise.
    """
    if second is None and rows is None:
        problem = Problem(
            "one run and no rows", "two runs, or --rows X Y", "name another run, or two rows"
        )
        raise BadInput([problem])
    runs = [Run.open(path) for path in (first, second or first)]
    report = compare_runs(runs[0], runs[1], rows=rows)
    if as_json:
        print_json(report.to_json())
    else:
        print_product("\n".join(report.lines()))
