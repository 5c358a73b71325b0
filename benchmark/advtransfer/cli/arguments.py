"""Options and option types that several subcommands share."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.api.arguments import BYTE_UNITS, parse_bytes

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
    try:
        return parse_bytes(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def format_bytes(bytes: int) -> str:
    """Return a number of bytes in the largest unit in which it is at least 1: ``1.2 GB``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if bytes >= BYTE_UNITS[unit]:
            return f"{bytes / BYTE_UNITS[unit]:.1f} {unit}"
    return f"{bytes} B"
