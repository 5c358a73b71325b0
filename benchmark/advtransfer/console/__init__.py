"""The console: shows a run from the events of the runner, and from nothing else."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Protocol, Self, TextIO

from advtransfer.console.event_fields import Event
from advtransfer.console.plain import PlainConsole

__all__ = ["Console", "Event", "console_for"]


class Console(AbstractContextManager["Console"], Protocol):
    """A listener for the events of a run; its ``with`` block restores the terminal at the end."""

    def __call__(self, event: Event) -> None: ...
    def __enter__(self) -> Self: ...


def console_for(
    stream: TextIO,
    *,
    product: TextIO | None = None,
    quiet: bool = False,
    plain: bool | None = None,
    seconds_between: float = 0.0,
) -> Console:
    """Return the console for a stream: live on a terminal, else one line for each finished trial.

    Args:
        stream: The stream of progress and failures.
        product: The stream of the last lines, the counts and the page; by default `stream`.
        quiet: Show only failures and the last lines.
        plain: True for lines even on a terminal, False for the live display on any stream; by
            default the stream decides.
        seconds_between: A finished trial is not shown in lines sooner than this after the one
            before; the last is always shown. The cell of a notebook keeps every line.
    """
    if plain is None:
        plain = not stream.isatty() or os.environ.get("TERM") == "dumb"
    if plain or quiet:
        return PlainConsole(
            stream, product=product or stream, quiet=quiet, seconds_between=seconds_between
        )
    # Logs and pipes need no rich, which is slow to import.
    from rich.console import Console as Terminal

    from advtransfer.console.live import LiveConsole

    return LiveConsole(Terminal(file=stream), product=product or stream)
