"""The command line: one file a subcommand, imported when it is asked for, so that ``--help`` stays instant."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from advtransfer.cli.commands import Commands

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="advtransfer", message="%(prog)s %(version)s")
def main() -> None:
    """Benchmark adversarial robustness and transfer learning.

    A suite (a YAML file, or the name of a shipped one) says which source models are carried to which targets, how,
    and what is measured. Try: advtransfer run quickstart
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # names and dashes must not end a run on a terminal that lacks them
