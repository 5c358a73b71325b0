"""``advtransfer list``: list the installed components."""

from __future__ import annotations

import click

from advtransfer.api.catalogue import component_table, parse_kind
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_note, print_product
from advtransfer.errors import BadInput
from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Host


def read_kind(value: str) -> ComponentKind:
    """Return the kind that a word names. This is a click type."""
    try:
        return parse_kind(value)
    except BadInput as error:
        raise click.BadParameter(str(error)) from error


@click.command(cls=Subcommand, short_help="List the installed components.")
@click.argument("kind", type=read_kind, metavar="[KIND]", required=False)
@click.option("--json", "as_json", is_flag=True, help="A list of {name, kind, plugin, summary}.")
@click.pass_context
def command(ctx: click.Context, kind: ComponentKind | None, as_json: bool) -> None:
    """List the installed components, or those of one KIND.

    A KIND is dataset, source, adapter, transfer, evaluation or executor. A plugin that cannot be
    loaded is reported on stderr, and the exit code is 1; the others are still listed.
    """
    host = Host.discover()
    table = component_table(host, kind)
    if as_json:
        print_json(table.data)
    else:
        print_product(str(table))
    for error in host.broken_plugins.values():
        print_note(error)
    ctx.exit(1 if host.broken_plugins else 0)
