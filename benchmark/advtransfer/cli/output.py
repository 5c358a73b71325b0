"""What a command says: its product on stdout, alone; everything else, whatever plugins print included, on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from advtransfer.printable import printable

STDOUT, STDERR = 1, 2
_products: list[TextIO] = []
"""The stream of the product while a command runs; the last one counts."""


@contextmanager
def product_alone() -> Iterator[None]:
    """Inside, what anybody but `echo` writes to stdout goes to stderr: plugins, their C code, and worker processes.

    The stdout of a process stays so until it ends, since plugins may print on their way out as well.
    """
    if sys.stdout is None:  # closed by whoever started this process
        yield
        return
    before, real = sys.stdout, _is_real(sys.stdout)
    _products.append(_kept(before) if real else before)
    if not real:
        sys.stdout = sys.stderr
    try:
        yield
    finally:
        _products.pop().flush()
        if not real:
            sys.stdout = before


def product() -> TextIO:
    """The stream that a command's product goes to."""
    return _products[-1] if _products else sys.stdout


def echo(text: str, *, newline: bool = True) -> None:
    """Write a command's product."""
    click.echo(printable(text), file=product(), nl=newline)  # this is what others call in its place


def note(text: object) -> None:
    """Write what is not the product, such as warnings, to stderr."""
    click.echo(printable(str(text)), err=True)  # as above


def _is_real(stream: TextIO) -> bool:
    """Whether a stream is this process's own stdout, not what a test or a notebook has put in its place."""
    try:
        return stream.fileno() == STDOUT
    except (OSError, ValueError, AttributeError):
        return False


def _kept(stream: TextIO) -> TextIO:
    """A stream to where stdout goes now; from here on what is written to stdout goes to stderr."""
    stream.flush()
    kept = os.fdopen(os.dup(STDOUT), "w", encoding=stream.encoding, errors="replace")
    try:
        os.dup2(STDERR, STDOUT)
    except OSError:  # stderr is closed
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  # a device, not a path
            os.dup2(nowhere.fileno(), STDOUT)
    return kept
