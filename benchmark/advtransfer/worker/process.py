"""Process-wide surroundings of a job.

Thread limit, deterministic algorithms, scratch folder, warnings as events.

Does not import torch until one of them is entered.
"""

from __future__ import annotations

import json
import os
import select
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from advtransfer import files
from advtransfer.errors import AdvTransferWarning
from advtransfer.jobs import Job
from advtransfer.types import Json

SCRATCH_NAME = "advtransfer-scratch"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder among the system's temporary ones, named after this process; it is deleted at the end."""
    folder = files.temporary_path(Path(tempfile.gettempdir()) / SCRATCH_NAME)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        files.delete_if_present(folder)


def remove_stale_scratch() -> list[Path]:
    """Delete the scratch folders of processes that are gone; returns what was deleted."""
    return files.remove_stale_temporaries(
        Path(tempfile.gettempdir()), pattern=f".{SCRATCH_NAME}.*.tmp"
    )


MAX_WARNING_BYTES = select.PIPE_BUF - 1024
"""Of a text as JSON: news must fit one write to the workers' pipe, with what else is in the event."""


@contextmanager
def warnings_as_events(tell: Callable[[Mapping[str, Json]], None], job: Job) -> Iterator[None]:
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
        tell({"event": "warning", "id": job.id, "name": name, "text": _fit_into_event(text)})

    before: Any = warnings.showwarning  # Any: typeshed has no name for its type
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _fit_into_event(text: str) -> str:
    """As much of a text, on one line, as an event can carry."""
    text = " ".join(text.split())
    while len(json.dumps(text)) > MAX_WARNING_BYTES:
        text = f"{text[: len(text) * 3 // 4]} …"
    return text


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Inside, torch and the BLAS libraries use this many CPU threads (each keeps its own count)."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Inside, torch picks algorithms that give the same bits again; an operation that has none fails by name.

    Float32 numbers are computed in full, see `full_float32`.
    """
    import torch

    from advtransfer.worker.device import full_float32

    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # without it torch refuses cuBLAS here
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with full_float32():
            yield
    finally:
        torch.use_deterministic_algorithms(before)
