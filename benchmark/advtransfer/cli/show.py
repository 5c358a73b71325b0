"""``advtransfer show``: show the options of a component, or the grid of a suite."""

from __future__ import annotations

import click

from advtransfer.api.catalogue import show_name
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_product


@click.command(cls=Subcommand, short_help="Show a component's options, or a suite's grid.")
@click.argument("name")
@click.option(
    "--leakage", is_flag=True, help="Of a suite: count images that two of its data sets share."
)
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
def command(name: str, leakage: bool, as_json: bool) -> None:
    """Show the component or the suite NAME.

    A component is written plugin/factory: its help, options, types, defaults and presets are shown.
    A suite is given by its file or its name: the cells on each axis are shown, and how many trials
    they make.
    """
    table = show_name(name, leakage=leakage)
    if as_json:
        print_json(table.data)
    else:
        print_product(str(table))
