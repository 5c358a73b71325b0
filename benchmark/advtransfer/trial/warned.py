"""Warnings raised while a job is done, told as events: a line of the console, not a library's bare output."""

from __future__ import annotations

import json
import select
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from advtransfer.errors import AdvTransferWarning
from advtransfer.types import Job, Json

MOST_BYTES = select.PIPE_BUF - 1024
"""Of a text as JSON: news must fit one write to the workers' pipe, with what else is in the event."""


@contextmanager
def warnings_told(tell: Callable[[Mapping[str, Json]], None], job: Job) -> Iterator[None]:
    """Inside, a warning that Python would write to stderr is told as the event ``warning``.

    A library's is told with its category and the name of the job; an `AdvTransferWarning` speaks for itself.
    """

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        own = issubclass(category, AdvTransferWarning)
        text = str(message) if own else f"{category.__name__}: {message}"
        name = "" if own else str(job.asked_by.get("name") or "")
        tell({"event": "warning", "id": job.id, "name": name, "text": _shortened(text)})

    before: Any = warnings.showwarning  # Any: typeshed has no name for its type
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _shortened(text: str) -> str:
    """As much of a text, on one line, as an event can carry."""
    text = " ".join(text.split())
    while len(json.dumps(text)) > MOST_BYTES:
        text = f"{text[: len(text) * 3 // 4]} …"
    return text
