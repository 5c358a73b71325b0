"""``advtransfer schema``: the JSON Schema of suites."""

from __future__ import annotations

import json

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import echo, note
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
    echo(json.dumps(suite.schema(host), indent=2, ensure_ascii=False))
    for error in host.broken.values():
        note(error)
    ctx.exit(1 if host.broken else 0)
