"""Claim of a run folder.

One suite a folder, drivers with the same settings, and a disk that can be written.

Also the choice of the cache folder that the run writes to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from advtransfer import files
from advtransfer.cache import Cache
from advtransfer.cache.lock import folder_guard
from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import WRITE_REFUSAL_ERRNOS, write_atomic
from advtransfer.result import Run
from advtransfer.result.run_folder import load_json_object
from advtransfer.suite import Suite
from advtransfer.suite.extends import shipped_suites
from advtransfer.types import Json

ORIGIN_FILE_NAME = "origin.json"


def claim_run_folder(folder: Run, suite: Suite) -> None:
    """Note which suite a folder belongs to, or refuse it for another one.

    A file that was edited, or moved, or copied together with the run folder, is the same suite.

    Raises:
        BadInput: The folder belongs to another suite file that is still there.
    """
    place = folder.path / ORIGIN_FILE_NAME
    now = {"path": str(suite.path.resolve()), "relative": os.path.relpath(suite.path, folder.path)}
    if suite.path.resolve() in {path.resolve() for path in shipped_suites().values()}:
        now = {"path": "", "relative": f"shipped: {suite.name}"}
    before = _recorded_origin(place)
    if before and before != now and _is_other_suite(before, now, folder, suite):
        other = before["path"] or f"the shipped suite {suite.name}"
        found = f"the suite {suite.path}, but {folder.path} holds the run of {other}"
        next_step = "choose another folder with --runs, or give the suite file another name"
        raise BadInput([Problem(found, "one suite a run folder", next_step)])
    write_atomic(
        place, json.dumps(now, indent=1, sort_keys=True).encode("utf-8", "backslashreplace")
    )


def _recorded_origin(place: Path) -> dict[str, str]:
    """What was noted; nothing where that cannot be read."""
    try:
        found = load_json_object(place)
    except CacheError:
        return {}
    return {name: str(found.get(name, "")) for name in ("path", "relative")}


def _is_other_suite(before: dict[str, str], now: dict[str, str], folder: Run, suite: Suite) -> bool:
    if before["relative"] == now["relative"]:  # both were moved or copied together
        return False
    if before["path"] and not Path(before["path"]).is_file():  # the suite was moved
        return False
    kept = folder.path / "suite.yaml"
    return not kept.is_file() or kept.read_bytes() != suite.text.encode("utf-8", "backslashreplace")


DRIVER_NOTE_NAME = "driver"


@contextmanager
def register_driver(
    run: Run, line: Mapping[str, Json], *, mixed: bool, prepare: Callable[[], None]
) -> Iterator[None]:
    """Count as a driver of this folder inside; `prepare` is called while no other driver begins.

    The note is a temporary file, so that it goes with a driver that is killed.

    Raises:
        BadInput: Another driver is at work with other settings, unless they may be `mixed`.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with folder_guard(run.path):
        files.remove_stale_temporaries(run.path)
        if not mixed:
            _require_same_settings(run, line)
        prepare()
        note = files.temporary_path(run.path / DRIVER_NOTE_NAME)
        note.write_text(json.dumps(dict(line)), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _require_same_settings(run: Run, line: Mapping[str, Json]) -> None:
    for path in run.path.glob(f".{DRIVER_NOTE_NAME}.*.tmp"):
        try:
            other = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it has just ended
            continue
        differs = [
            name
            for name, value in line.items()
            if isinstance(other, dict) and other.get(name) != value
        ]
        if differs:
            raise BadInput(
                [
                    Problem(
                        ", ".join(f"{name} {line[name]}" for name in differs),
                        f"{', '.join(f'{name} {other[name]}' for name in differs)}, as another driver of {run.path} "
                        "that is at work now",
                        "run with the same settings, choose another folder with --runs, or allow a mixture with "
                        "--mixed",
                    )
                ]
            )


@contextmanager
def explain_run_write_errors(folder: Path) -> Iterator[None]:
    """Inside, a disk that refuses to be written becomes a message; what was recorded before it stays.

    Raises:
        BadInput: The disk is full or read-only, or there is no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in WRITE_REFUSAL_ERRNOS:
            raise
        found = f"no way to write {str(error.filename2 or error.filename or folder)!r} ({error.strerror})"
        next_step = "make room there, or choose another folder with --runs; what is recorded stays"
        raise BadInput(
            [Problem(found, "room and permission in the run folder", next_step)]
        ) from error


def choose_cache(root: Path, *, line: str, run: Path) -> tuple[Path, Path | None, str | None]:
    """Where a run keeps what it builds, where else it looks, and what is to be said of that.

    A cache that can be read only, such as another user's, still serves: what is built goes beside the records.

    Raises:
        BadInput: There is no such folder, and it cannot be made.
    """
    refused = Cache(root, line=line).unwritable_reason()
    if refused is None:
        return root, None, None
    if not root.is_dir():
        next_step = "set ADVTRANSFER_CACHE to a folder that can be"
        raise BadInput(
            [
                Problem(
                    f"no cache at {str(root)!r} ({refused})", "a folder that can be made", next_step
                )
            ]
        )
    own = run / "cache"
    told = (
        f"the cache {root} cannot be written ({refused}): it is read, and what is built goes to {own}; "
        "set ADVTRANSFER_CACHE to a folder of your own"
    )
    return own, root, told
