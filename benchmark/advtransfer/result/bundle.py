"""A run's records as a few files that a repository can hold: one sorted line a record, one file a kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from advtransfer.files import write_whole
from advtransfer.result.record import Record
from advtransfer.result.run import Run, text
from advtransfer.types import Json


def write_bundle(run: Run, folder: Path) -> Path:
    """Write suite, plan, environments, and what the plan shows of records and attempts; `folder` reads like a run.

    What names paths of one machine is left out: where a record was copied from, and tracebacks.
    """
    wanted = _shown(run)
    lines: dict[str, list[tuple[str, str]]] = {}
    for record in run.records():
        if record["id"] in wanted:
            lines.setdefault(f"records/{record['kind']}", []).append(_line(_published(record)))
    attempts = [one | {"traceback": None} for id, one in run.attempts().items() if id in wanted]
    lines |= {"attempts": [_line(one) for one in attempts]} if attempts else {}
    for name, numbered in lines.items():
        write_whole(folder / f"{name}.jsonl", "".join(f"{line}\n" for _, line in sorted(numbered)).encode())
    write_whole(folder / "plan.json", text(run.plan()).encode())
    for digest, environment in run.environments().items():
        write_whole(folder / "environments" / f"{digest}.json", text(environment).encode())
    shutil.copyfile(run.path / "suite.yaml", folder / "suite.yaml")
    return folder


def _shown(run: Run) -> set[str]:
    """The ids of every record that the plan asks for."""
    wanted: set[str] = set()
    for trial in cast("list[Mapping[str, Json]]", run.plan()["trials"]):
        results = cast("Mapping[str, list[str]]", trial["evaluations"])
        wanted |= {str(trial["id"]), *cast("list[str]", trial["builds"])}
        wanted |= {id for ids in results.values() for id in ids}
    return wanted


def _line(record: Record) -> tuple[str, str]:
    """A record's id, to sort by, and its line."""
    return str(record["id"]), json.dumps(record, sort_keys=True, allow_nan=False, ensure_ascii=False)


def _published(record: Record) -> Record:
    observed = cast("Mapping[str, Json]", record["observed"])
    return record | {"observed": {**observed, "copied_from": None}}
