"""The command line.

One file for each subcommand, imported when it is used so that ``--help`` is fast.
"""

from __future__ import annotations

import gc
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

    A suite (a YAML file, or the name of a shipped one) lists source models, the targets they are
    transferred to, the transfer methods, and the evaluations. Try: advtransfer run quickstart
    """
    _check_system()
    # A plan and its records are many objects without cycles, which every search for cycles visits.
    gc.set_threshold(100_000, 20, 100)
    # Figures are written to files. A backend for windows needs a display, and may not be installed.
    os.environ["MPLBACKEND"] = "agg"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal without some character, such as a dash, must not end a run of hours.
            stream.reconfigure(errors="replace")


def _check_system() -> None:
    """Raise on a system where nothing can work.

    Raises:
        UsageFailure: The system is Windows, or Python runs without docstrings.
    """
    if sys.platform == "win32":
        problem = Problem("Windows", "Linux or macOS, since files are locked with flock", "use WSL")
        raise UsageFailure(str(problem))
    if sys.flags.optimize > 1:
        problem = Problem(
            "python -OO (or PYTHONOPTIMIZE=2), which drops docstrings",
            "docstrings, since they are the help of components",
            "run without it, or with -O",
        )
        raise UsageFailure(str(problem))
