"""``advtransfer new``: write the distribution of a plugin."""

from __future__ import annotations

import shlex
from importlib.metadata import version
from pathlib import Path

import click

from advtransfer.api.catalogue import parse_kind
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_product
from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Host
from advtransfer.scaffold.write import write_distribution


@click.command(cls=Subcommand, short_help="Write an installable plugin to begin with.")
@click.argument("name")
@click.option(
    "--kind",
    type=parse_kind,
    required=True,
    metavar="KIND",
    help="dataset, source, adapter, transfer, evaluation or executor.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The folder to write it in; by default the current one.",
)
def command(name: str, kind: ComponentKind, into: Path) -> None:
    """Write a distribution with a small plugin of one KIND into a new folder NAME.

    It can be installed and passes its tests, which are those of the kit, the moment it is written;
    its suite compares it with the built-in component that it resembles.
    """
    host = Host.discover()
    paths = write_distribution(
        name, kind, into=into, version=version("advtransfer"), plugins=host.plugin_names
    )
    folder = shlex.quote(str(into / name))
    extra = f" --executor {name.replace('-', '_')}/serial" if kind == "executor" else ""
    lines = [
        *map(str, paths),
        "",
        f"cd {folder}",
        "pip install -e '.[test]'",
        "pytest",
        f"advtransfer run suite.yaml{extra}",
        "advtransfer leaderboard runs/suite",
    ]
    print_product("\n".join(lines))
