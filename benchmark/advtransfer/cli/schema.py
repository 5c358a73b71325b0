"""``advtransfer schema``: print the JSON Schema of suites."""

from __future__ import annotations

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_note
from advtransfer.host import Host


@click.command(cls=Subcommand, short_help="Print the JSON Schema of suites, for editors.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Print the JSON Schema (draft 2020-12) of suites, with the options of every installed plugin.

    An editor with a YAML language server completes and checks suites with it. Write it to a file,
    and name that file in a suite's first line: # yaml-language-server: $schema=suite.schema.json

    A plugin that cannot be loaded is reported on stderr, and the exit code is 1; the schema still
    has the others.
    """
    from advtransfer import suite

    host = Host.discover()
    print_json(suite.suite_schema(host))
    for error in host.broken_plugins.values():
        print_note(error)
    ctx.exit(1 if host.broken_plugins else 0)
