"""Options and option types that several subcommands share."""

from __future__ import annotations

import re
from pathlib import Path

import click

runs_option = click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The folder of all runs, with one folder for each suite.",
)


_BYTE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTE_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def size(value: str) -> int:
    """Return the number of bytes of a command-line value.

    This is a click type: click reports a mistake with its option, and shows the function's name.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in _BYTE_UNITS:
        raise click.BadParameter(
            f"{value!r} is not a size; expected a number of bytes, such as 2GB, 500MB or 1GiB"
        )
    return int(float(match[1]) * _BYTE_UNITS[match[2].upper()])


def format_bytes(bytes: int) -> str:
    """Return a number of bytes in the largest unit in which it is at least 1: ``1.2 GB``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if bytes >= _BYTE_UNITS[unit]:
            return f"{bytes / _BYTE_UNITS[unit]:.1f} {unit}"
    return f"{bytes} B"
