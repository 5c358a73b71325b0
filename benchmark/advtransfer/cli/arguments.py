"""Options and option types that several subcommands share."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.api.arguments import parse_bytes
from advtransfer.text import parse_duration

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


def memory_size(value: str) -> int:
    """Return the number of bytes, above 0, of a command-line value. This is a click type."""
    bytes = size(value)
    if not bytes:
        raise click.BadParameter(
            f"{value!r} leaves no memory; expected a size above 0, such as 8GiB"
        )
    return bytes


def duration(value: str) -> float:
    """Return the seconds of a command-line value. This is a click type."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def parse_jobs(value: str) -> int | None:
    """Return a number of jobs, or None for ``auto``. This is a click type."""
    if value == "auto":
        return None
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter(
            f"{value!r} is not a number of jobs; expected a whole number from 1 on, or auto"
        )
    return int(value)
