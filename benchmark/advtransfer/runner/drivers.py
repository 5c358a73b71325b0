"""The drivers that are at work in one run folder at this moment, and what each of them runs with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from advtransfer import files
from advtransfer.cache.lease import guarded
from advtransfer.errors import BadInput, Problem
from advtransfer.result import Run
from advtransfer.types import Json

NAME = "driver"


@contextmanager
def driving(run: Run, line: Mapping[str, Json], *, mixed: bool, prepare: Callable[[], None]) -> Iterator[None]:
    """Count as a driver of this folder inside; `prepare` is called while no other driver begins.

    The note is a temporary file, so that it goes with a driver that is killed.

    Raises:
        BadInput: Another driver is at work with other settings, unless they may be `mixed`.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with guarded(run.path):
        files.sweep(run.path)
        if not mixed:
            _agree(run, line)
        prepare()
        note = files.beside(run.path / NAME)
        note.write_text(json.dumps(dict(line)), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _agree(run: Run, line: Mapping[str, Json]) -> None:
    for path in run.path.glob(f".{NAME}.*.tmp"):
        try:
            other = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it has just ended
            continue
        differs = [name for name, value in line.items() if isinstance(other, dict) and other.get(name) != value]
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
