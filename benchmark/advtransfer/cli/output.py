"""Output of a subcommand.

Its product alone goes to stdout, everything else (also the output of plugins) to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from advtransfer.text import printable_text

STDOUT, STDERR = 1, 2
_product_streams: list[TextIO] = []
"""The stream of the product while a command runs. With nested commands the last one is in use."""


@contextmanager
def reserve_stdout() -> Iterator[None]:
    """Reserve stdout for `print_product` while the context is open.

    What anything else writes to stdout goes to stderr: plugins, their C code, and worker processes.
    The stdout of a process is not restored, since plugins may print while the process ends.
    """
    if sys.stdout is None:  # Whoever started this process closed it.
        yield
        return
    before = sys.stdout
    is_process_stdout = _is_process_stdout(before)
    _product_streams.append(_redirect_stdout(before) if is_process_stdout else before)
    if not is_process_stdout:
        sys.stdout = sys.stderr
    try:
        yield
    finally:
        _product_streams.pop().flush()
        if not is_process_stdout:
            sys.stdout = before


def product_stream() -> TextIO:
    """Return the stream that a command's product goes to."""
    return _product_streams[-1] if _product_streams else sys.stdout


def print_product(text: str, *, newline: bool = True) -> None:
    """Write a command's product."""
    # Everything else calls this function, so that printable_text is applied once and everywhere.
    click.echo(printable_text(text), file=product_stream(), nl=newline)


def print_json(value: object, *, default: Callable[[object], str] | None = None) -> None:
    """Write a command's product as JSON; `default` converts values that JSON lacks."""
    print_product(json.dumps(value, indent=2, ensure_ascii=False, default=default))


def print_note(text: object) -> None:
    """Write a text that is not the product, such as a warning, to stderr."""
    click.echo(printable_text(str(text)), err=True)


def _is_process_stdout(stream: TextIO) -> bool:
    """Return True for this process's own stdout, False for a stream that a test or notebook set."""
    try:
        return stream.fileno() == STDOUT
    except (OSError, ValueError, AttributeError):
        return False


def _redirect_stdout(stream: TextIO) -> TextIO:
    """Return a stream to the present stdout; what is written to stdout from now on goes to stderr.

    The file descriptor itself is redirected, since C code and worker processes do not use
    sys.stdout.
    """
    stream.flush()
    product = os.fdopen(os.dup(STDOUT), "w", encoding=stream.encoding, errors="replace")
    try:
        os.dup2(STDERR, STDOUT)
    except OSError:  # stderr is closed
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  # a device, not a path
            os.dup2(nowhere.fileno(), STDOUT)
    return product
