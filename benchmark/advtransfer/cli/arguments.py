"""Options and option types that several subcommands share."""

from __future__ import annotations

import re
from pathlib import Path

import click

from advtransfer.text import BYTE_UNITS

runs_option = click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The folder of all runs, with one folder for each suite.",
)


def size(value: str) -> int:
    """Return the number of bytes of a command-line value.

    This is a click type: click reports a mistake with its option, and shows the function's name.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in BYTE_UNITS:
        raise click.BadParameter(
            f"{value!r} is not a size; expected a number of bytes, such as 2GB, 500MB or 1GiB"
        )
    return int(float(match[1]) * BYTE_UNITS[match[2].upper()])
