"""The folder that a job may write into: gone with the job, or, where its worker was killed, with the run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from advtransfer import files

NAME = "advtransfer-scratch"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder among the system's temporary ones, named after this process; it is deleted at the end."""
    folder = files.beside(Path(tempfile.gettempdir()) / NAME)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        files.discard(folder)


def sweep_scratch() -> list[Path]:
    """Delete the scratch folders of processes that are gone; returns what was deleted."""
    return files.sweep(Path(tempfile.gettempdir()), pattern=f".{NAME}.*.tmp")
