"""``advtransfer schema``: the JSON Schema of suites."""

from __future__ import annotations

import json

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_note, print_product
from advtransfer.host import Host


@click.command(cls=Subcommand, short_help="The JSON Schema of suites, for editors.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Print the JSON Schema (draft 2020-12) of suites, the options of every installed plugin included.

    An editor with a YAML language server completes and checks suites by it; write it to a file and name the file in
    a suite's first line: # yaml-language-server: $schema=suite.schema.json

    A plugin that cannot be loaded is told on stderr, and the exit code is 1; the schema has the others all the same.
    """
    from advtransfer import suite

    host = Host.discover()
    print_product(json.dumps(suite.suite_schema(host), indent=2, ensure_ascii=False))
    for error in host.broken_plugins.values():
        print_note(error)
    ctx.exit(1 if host.broken_plugins else 0)
