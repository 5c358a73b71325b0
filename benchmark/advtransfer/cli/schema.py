"""``advtransfer schema``: the JSON Schema of suites."""

from __future__ import annotations

import json

import click

from advtransfer.host import Host


@click.command(short_help="The JSON Schema of suites, for editors.")
def command() -> None:
    """Print the JSON Schema (draft 2020-12) of suites, the options of every installed plugin included.

    An editor with a YAML language server completes and checks suites by it; write it to a file and name the file in
    a suite's first line: # yaml-language-server: $schema=suite.schema.json
    """
    from advtransfer import suite

    click.echo(json.dumps(suite.schema(Host.discover()), indent=2, ensure_ascii=False))
