"""Which suite a run folder belongs to: two files of one name must not take turns in one folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import write_whole
from advtransfer.result import Run
from advtransfer.result.run import load
from advtransfer.suite import Suite
from advtransfer.suite.shipped import shipped

NAME = "origin.json"


def keep_origin(folder: Run, suite: Suite) -> None:
    """Note which suite a folder belongs to, or refuse it for another one.

    A file that was edited, or moved, or copied together with the run folder, is the same suite.

    Raises:
        BadInput: The folder belongs to another suite file that is still there.
    """
    place = folder.path / NAME
    now = {"path": str(suite.path.resolve()), "relative": os.path.relpath(suite.path, folder.path)}
    if suite.path.resolve() in {path.resolve() for path in shipped().values()}:
        now = {"path": "", "relative": f"shipped: {suite.name}"}
    before = _noted(place)
    if before and before != now and _differs(before, now, folder, suite):
        other = before["path"] or f"the shipped suite {suite.name}"
        found = f"the suite {suite.path}, but {folder.path} holds the run of {other}"
        next_step = "choose another folder with --runs, or give the suite file another name"
        raise BadInput([Problem(found, "one suite a run folder", next_step)])
    write_whole(place, json.dumps(now, indent=1, sort_keys=True).encode("utf-8", "backslashreplace"))


def _noted(place: Path) -> dict[str, str]:
    """What was noted; nothing where that cannot be read."""
    try:
        found = load(place)
    except CacheError:
        return {}
    return {name: str(found.get(name, "")) for name in ("path", "relative")}


def _differs(before: dict[str, str], now: dict[str, str], folder: Run, suite: Suite) -> bool:
    if before["relative"] == now["relative"]:  # both were moved or copied together
        return False
    if before["path"] and not Path(before["path"]).is_file():  # the suite was moved
        return False
    kept = folder.path / "suite.yaml"
    return not kept.is_file() or kept.read_bytes() != suite.text.encode("utf-8", "backslashreplace")
