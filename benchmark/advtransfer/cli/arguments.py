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


jobs_option = click.option(
    "--jobs",
    type=parse_jobs,
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Workers at once.",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads for each worker.",
)
only_option = click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Trials: a name with *, or source=linf*,n=20.",
)
device_option = click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="cpu, cuda (every GPU), or GPUs by number: cuda:0,cuda:1.",
)
executor_option = click.option(
    "--executor", default="local/pool", show_default=True, help="The engine, as plugin/factory."
)
battery_option = click.option(
    "--battery",
    type=click.Choice(["small", "full", "none"]),
    default="small",
    show_default=True,
    help="How thoroughly each robust accuracy is verified.",
)
