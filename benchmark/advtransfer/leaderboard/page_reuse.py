"""Reuse of the page in a run folder: it is not made again where nothing that it is made from has changed.

``page.json`` beside the page holds a digest of the states (size, times, inode) of all files that the page was made
from, of those that were written, and of the code. Where anything differs, the page is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

from advtransfer.errors import CacheError
from advtransfer.files import write_atomic
from advtransfer.host.distributions import installed_version
from advtransfer.host.own_code import own_code_digest
from advtransfer.leaderboard.publish import PAGE_NAME, write_page
from advtransfer.result import Run
from advtransfer.result.bounded_reading import read_json
from advtransfer.types import Json

NOTE_NAME = "page.json"
INPUT_FOLDERS = ("attempts", "challenges", "environments", "files", "samples")
LIBRARIES = ("matplotlib", "numpy", "scipy")
"""Libraries on which the bytes of a page and its figures depend."""


def keep_or_write_page(run: Run, *, warn: Callable[[str], None]) -> Path:
    """Return the page of a run, after writing it where it is not that of today's records.

    Args:
        run: The run.
        warn: Called as `write_page` calls it, also where the page is kept.
    """
    made_from = _inputs_digest(run)
    note = _read_note(run)
    if note.get("made_from") == made_from and note.get("files") == _files_digest(run):
        for problem in cast("list[str]", note["problems"]):
            warn(problem)
        return run.path / PAGE_NAME
    problems: list[str] = []
    page = write_page(run, warn=problems.append)
    for problem in problems:
        warn(problem)
    content = {"made_from": made_from, "files": _files_digest(run), "problems": problems}
    write_atomic(run.path / NOTE_NAME, json.dumps(content, indent=1).encode())
    return page


def _read_note(run: Run) -> dict[str, Json]:
    """Return the note of the page that is there; an empty one where it cannot be read."""
    with suppress(CacheError):
        note = read_json(run.path / NOTE_NAME)
        if isinstance(note, dict) and isinstance(note.get("problems"), list):
            return note
    return {}


def _inputs_digest(run: Run) -> str:
    """Return the digest of the states of all files that a page is made from, and of the code that makes it."""
    index = run.index()
    digest = hashlib.sha256(own_code_digest())
    libraries = [f"{name} {installed_version(name)}" for name in LIBRARIES]
    faults = [f"{location} {fault}" for location, fault in index.faults().items()]
    states = [_state(run, run.path / "plan.json")]
    for name in INPUT_FOLDERS:
        states += _states_below(run, name)
    digest.update("\n".join([*libraries, *faults, *states, *index.describe_files()]).encode())
    return digest.hexdigest()


def _files_digest(run: Run) -> str:
    """Return the digest of the states of the page and of the figures beside it."""
    paths = sorted([run.path / PAGE_NAME, *run.path.glob("*.svg")])
    return hashlib.sha256("\n".join(_state(run, path) for path in paths).encode()).hexdigest()


def _states_below(run: Run, name: str) -> Iterator[str]:
    for parent, folders, files in os.walk(run.path / name):
        folders.sort()
        for file in sorted(files):
            yield _state(run, Path(parent, file))


def _state(run: Run, path: Path) -> str:
    # Where a file lies counts too: a folder that is renamed changes none of its files' states.
    location = path.relative_to(run.path).as_posix()
    try:
        status = path.lstat()
    except OSError:
        return f"{location} is absent"
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    return f"{location} {status.st_size} {times} {status.st_ino}"
