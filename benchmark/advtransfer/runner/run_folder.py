"""Claim of a run folder for a suite, and choice of the cache folder that the run writes to.

One suite per folder, and a disk that can be written.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from advtransfer.cache import Cache
from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import WRITE_REFUSAL_ERRNOS, write_atomic
from advtransfer.result import Run
from advtransfer.result.record_file import load_json_object
from advtransfer.suite import Suite
from advtransfer.suite.extends import shipped_suites

ORIGIN_FILE_NAME = "origin.json"


def claim_run_folder(folder: Run, suite: Suite) -> None:
    """Record which suite a folder belongs to, or refuse the folder.

    A suite file that was edited, moved, or copied together with the run folder is the same suite.

    Raises:
        BadInput: The folder belongs to another suite file that still exists.
    """
    path = folder.path / ORIGIN_FILE_NAME
    origin = _origin_of(suite, folder)
    before = _recorded_origin(path)
    if before and before != origin and _is_other_suite(before, origin, folder, suite):
        other = before["path"] or f"the shipped suite {suite.name}"
        found = f"the suite {suite.path}, but {folder.path} holds the run of {other}"
        next_step = "choose another folder with --runs, or give the suite file another name"
        raise BadInput([Problem(found, "one suite per run folder", next_step)])
    known = origin | {"id": run_identity(folder) or uuid.uuid4().hex[:16]}
    text = json.dumps(known, indent=1, sort_keys=True)
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def run_identity(folder: Run) -> str:
    """Return the random id that a run folder keeps, for trackers; an empty text before its first run."""
    try:
        return str(load_json_object(folder.path / ORIGIN_FILE_NAME).get("id", ""))
    except CacheError:
        return ""


def _origin_of(suite: Suite, folder: Run) -> dict[str, str]:
    """Return the location of a suite file, absolute and relative to the run folder."""
    path = suite.path.resolve()
    # Shipped suites are in the installation, whose path changes with the Python environment.
    if path in {shipped.resolve() for shipped in shipped_suites().values()}:
        return {"path": "", "relative": f"shipped: {suite.name}"}
    return {"path": str(path), "relative": os.path.relpath(suite.path, folder.path)}


def _recorded_origin(path: Path) -> dict[str, str]:
    """Return the recorded origin; an empty one if it cannot be read."""
    try:
        origin = load_json_object(path)
    except CacheError:
        return {}
    return {name: str(origin.get(name, "")) for name in ("path", "relative")}


def _is_other_suite(
    before: dict[str, str], origin: dict[str, str], folder: Run, suite: Suite
) -> bool:
    # Suite and run folder were moved or copied together, or one of them was reached by another path.
    same_file = before["path"] != "" and before["path"] == origin["path"]
    if same_file or before["relative"] == origin["relative"]:
        return False
    # The suite was moved.
    if before["path"] and not Path(before["path"]).is_file():
        return False
    copy = folder.path / "suite.yaml"
    text = suite.text.encode("utf-8", "backslashreplace")
    return not copy.is_file() or copy.read_bytes() != text


FolderIdentity: TypeAlias = tuple[int, int]
"""Device and inode of a folder: those of a folder that is moved stay, those of one made anew differ."""


def folder_identity(folder: Run) -> FolderIdentity | None:
    """Return the identity of a run folder; None where it does not exist."""
    try:
        state = folder.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state.st_dev, state.st_ino


def require_same_folder(folder: Run, identity: FolderIdentity | None) -> None:
    """Require a run folder to be the one that the run began in.

    Raises:
        BadInput: It was deleted, moved or replaced.
    """
    if folder_identity(folder) == identity:
        return
    found = f"the run folder {folder.path} deleted, moved or replaced while the run was at work"
    next_step = "put it back and run again; what it then does not hold is measured again"
    raise BadInput([Problem(found, "it to stay until the run ends", next_step)])


@contextmanager
def explain_run_write_errors(folder: Path) -> Iterator[None]:
    """Explain an error raised inside that is due to a disk that cannot be written.

    Raises:
        BadInput: The disk is full or read-only, or there is no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in WRITE_REFUSAL_ERRNOS:
            raise
        path = str(error.filename2 or error.filename or folder)
        found = f"no way to write {path!r} ({error.strerror})"
        expected = "room and permission in the run folder"
        next_step = "make room there, or choose another folder with --runs; what is recorded stays"
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
            expected = "a file where a run writes a file, and a folder where it writes a folder"
            next_step = "move away what is there, or choose another folder with --runs"
        problem = Problem(found, expected, next_step)
        raise BadInput([problem]) from error


def choose_cache(root: Path, *, line: str, run: Path) -> tuple[Path, Path | None, str | None]:
    """Choose the cache of a run.

    A cache that can only be read, such as another user's, still serves: new artifacts go to a cache
    in the run folder.

    Returns:
        The folder to write to, a folder that is only read (or None), and a warning (or None).

    Raises:
        BadInput: The folder does not exist and cannot be made.
    """
    reason = Cache(root, line=line).unwritable_reason()
    if reason is None:
        return root, None, None
    if not root.is_dir():
        found = f"no cache at {str(root)!r} ({reason})"
        next_step = "set ADVTRANSFER_CACHE to a folder that can be"
        raise BadInput([Problem(found, "a folder that can be made", next_step)])
    own = run / "cache"
    warning = (
        f"the cache {root} cannot be written ({reason}): "
        f"it is only read, and new artifacts are written to {own}; "
        "set ADVTRANSFER_CACHE to a folder of your own"
    )
    return own, root, warning
