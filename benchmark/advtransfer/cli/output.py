"""Output of a subcommand.

Its product alone on stdout, everything else (also what plugins print) on stderr, and tables in
aligned columns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

from advtransfer.text import printable_text


def align_columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a head, each column as wide as its widest text, two spaces between."""
    lines = [[text.upper() for text in head], *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


STDOUT, STDERR = 1, 2
_product_streams: list[TextIO] = []
"""The stream of the product while a command runs; the last one counts."""


@contextmanager
def reserve_stdout() -> Iterator[None]:
    """Inside, what anybody but `print_product` writes to stdout goes to stderr: plugins, their C code, and worker processes.

    The stdout of a process stays so until it ends, since plugins may print on their way out as well.
    """
    if sys.stdout is None:  # closed by whoever started this process
        yield
        return
    before, real = sys.stdout, _is_process_stdout(sys.stdout)
    _product_streams.append(_redirect_stdout(before) if real else before)
    if not real:
        sys.stdout = sys.stderr
    try:
        yield
    finally:
        _product_streams.pop().flush()
        if not real:
            sys.stdout = before


def product_stream() -> TextIO:
    """The stream that a command's product goes to."""
    return _product_streams[-1] if _product_streams else sys.stdout


def print_product(text: str, *, newline: bool = True) -> None:
    """Write a command's product."""
    click.echo(
        printable_text(text), file=product_stream(), nl=newline
    )  # this is what others call in its place


def print_note(text: object) -> None:
    """Write what is not the product, such as warnings, to stderr."""
    click.echo(printable_text(str(text)), err=True)  # as above


def _is_process_stdout(stream: TextIO) -> bool:
    """Whether a stream is this process's own stdout, not what a test or a notebook has put in its place."""
    try:
        return stream.fileno() == STDOUT
    except (OSError, ValueError, AttributeError):
        return False


def _redirect_stdout(stream: TextIO) -> TextIO:
    """A stream to where stdout goes now; from here on what is written to stdout goes to stderr."""
    stream.flush()
    kept = os.fdopen(os.dup(STDOUT), "w", encoding=stream.encoding, errors="replace")
    try:
        os.dup2(STDERR, STDOUT)
    except OSError:  # stderr is closed
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  # a device, not a path
            os.dup2(nowhere.fileno(), STDOUT)
    return kept
