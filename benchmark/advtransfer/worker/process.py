"""Process-wide surroundings of a job.

Scratch folder, warnings as events, thread limit, deterministic algorithms.

Does not import torch until one of the last two is entered.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer import files
from advtransfer.deprecation import HookDeprecation, shown_warnings_to
from advtransfer.errors import AdvTransferWarning
from advtransfer.jobs import Job
from advtransfer.types import Json

if TYPE_CHECKING:
    import threadpoolctl

SCRATCH_NAME = "advtransfer-scratch"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder that is named after this process, and delete it at the end."""
    folder = files.temporary_path(Path(tempfile.gettempdir()) / SCRATCH_NAME)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        files.delete_if_present(folder)


def remove_stale_scratch() -> list[Path]:
    """Delete the scratch folders of processes that have ended, and return their paths."""
    return files.remove_stale_temporaries(
        Path(tempfile.gettempdir()), pattern=f".{SCRATCH_NAME}.*.tmp"
    )


MAX_WARNING_BYTES = select.PIPE_BUF - 1024
"""Largest size of a warning's text as JSON.

An event must fit into one atomic write to the pipe that all workers share, with 1 KiB for the rest
of the event.
"""


@contextmanager
def warnings_as_events(tell: Callable[[Mapping[str, Json]], None], job: Job) -> Iterator[None]:
    """Send the warnings that Python would write to stderr as events ``warning``.

    A library's warning is sent with its category and the name of the job, an `AdvTransferWarning`
    with its text alone.
    """

    def take(message: Warning | str, category: type[Warning]) -> bool:
        if issubclass(category, HookDeprecation):
            return True  # The process that planned the run loaded the plugin too, and said it.
        if issubclass(category, AdvTransferWarning):
            name, text = "", str(message)
        else:
            name = str(job.asked_by.get("name") or "")
            text = f"{category.__name__}: {message}"
        tell({"event": "warning", "id": job.id, "name": name, "text": _fit_into_event(text)})
        return True

    with shown_warnings_to(take):
        yield


def _fit_into_event(text: str) -> str:
    """Return a text on one line, cut to what an event can carry."""
    text = " ".join(text.split())
    # By its JSON, where one character can take up to 12 bytes.
    while len(json.dumps(text)) > MAX_WARNING_BYTES:
        text = f"{text[: len(text) * 3 // 4]} …"
    return text


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Limit torch and the BLAS libraries to this number of CPU threads; each has its own count."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _thread_pools(len(sys.modules)).limit(limits=threads):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _thread_pools(modules: int) -> threadpoolctl.ThreadpoolController:
    """Return the thread pools of the libraries that are loaded; they are searched again after an import."""
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Make torch use deterministic algorithms, and compute float32 in full (see `full_float32`).

    An operation without a deterministic algorithm raises an error that names it.
    """
    import torch

    from advtransfer.worker.device import full_float32

    # Without it torch refuses cuBLAS in deterministic mode.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same of torch's compiler, should a plugin import it.
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    before = torch.are_deterministic_algorithms_enabled()
    _set_determinism(True)
    try:
        with full_float32():
            yield
    finally:
        _set_determinism(before)


def _set_determinism(enabled: bool) -> None:
    """Do what `torch.use_deterministic_algorithms` does, without its import of torch's compiler."""
    import torch

    # Jobs without an optimizer do without the compiler, a fifth of the time that a worker's start takes.
    if "torch._inductor.config" in sys.modules:
        torch.use_deterministic_algorithms(enabled)
    else:
        torch.set_deterministic_debug_mode("error" if enabled else "default")
