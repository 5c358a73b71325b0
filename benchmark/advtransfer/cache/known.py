"""Run folders that this machine knows, one small file each, so that one run finds the records of another."""

from __future__ import annotations

import json
from pathlib import Path

from advtransfer import files
from advtransfer.node import digest


def note(folder: Path, run: Path) -> None:
    """Note a run folder; noting it again changes nothing."""
    text = str(run.resolve())
    file = folder / f"{digest(text)[:32]}.json"
    if not file.exists():
        files.write_whole(file, json.dumps({"path": text}).encode())


def noted(folder: Path) -> list[Path]:
    """The noted run folders that still exist, sorted."""
    paths = {Path(json.loads(file.read_text(encoding="utf-8"))["path"]) for file in folder.glob("[!.]*.json")}
    return sorted(path for path in paths if path.is_dir())
