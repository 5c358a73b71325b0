"""Run folders that this machine knows, one small file each, so that one run finds the records of another."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from advtransfer import files
from advtransfer.node import digest

logger = logging.getLogger(__name__)


def note(folder: Path, run: Path) -> None:
    """Note a run folder; noting it again changes nothing."""
    text = str(run.resolve())
    file = folder / f"{digest(text)[:32]}.json"
    if _path(file) != Path(text):
        files.write_whole(file, json.dumps({"path": text}).encode())


def noted(folder: Path) -> list[Path]:
    """The noted run folders that still exist, sorted; a note that cannot be read is told and left out."""
    found: set[Path] = set()
    for file in sorted(folder.glob("[!.]*.json")):
        path = _path(file)
        if path is None:
            logger.warning("%s does not name a run folder and is not used; delete it", file)
        elif _is_folder(path):
            found.add(path)
    return sorted(found)


def _path(file: Path) -> Path | None:
    """The folder that a note names; None where it names none, or is not there."""
    try:
        return Path(json.loads(file.read_text(encoding="utf-8"))["path"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no permission to look; a name that no file can have
        return False
