"""The command line.

One file a subcommand, imported when it is asked for, so that ``--help`` stays instant.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

import click

from advtransfer.cli.commands import CommandGroup, UsageFailure
from advtransfer.errors import Problem

__all__ = ["main"]


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="advtransfer", message="%(prog)s %(version)s")
def main() -> None:
    """Benchmark adversarial robustness and transfer learning.

    A suite (a YAML file, or the name of a shipped one) says which source models are carried to which targets, how,
    and what is measured. Try: advtransfer run quickstart
    """
    _check_system()
    os.environ["MPLBACKEND"] = (
        "agg"  # figures are files; a backend for windows would be imported, and may be absent
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # names and dashes must not end a run on a terminal that lacks them


def _check_system() -> None:
    """Say at the start where nothing can work."""
    if sys.platform == "win32":
        problem = Problem("Windows", "Linux or macOS, since files are locked with flock", "use WSL")
        raise UsageFailure(str(problem))
    if sys.flags.optimize > 1:
        found = "python -OO (or PYTHONOPTIMIZE=2), which drops docstrings"
        problem = Problem(
            found, "them, since they are the help of components", "run without it, or with -O"
        )
        raise UsageFailure(str(problem))
