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
    """Write suite, plan, environments and the records that the plan shows into `folder`, which reads like a run.

    Where a record was copied from is a path of one machine and is left out.
    """
    wanted = _shown(run)
    lines: dict[str, list[tuple[str, str]]] = {}
    for record in run.records():
        if record["id"] in wanted:
            line = json.dumps(_published(record), sort_keys=True, allow_nan=False, ensure_ascii=False)
            lines.setdefault(str(record["kind"]), []).append((str(record["id"]), line))
    for kind, numbered in lines.items():
        content = "".join(f"{line}\n" for _, line in sorted(numbered))
        write_whole(folder / "records" / f"{kind}.jsonl", content.encode())
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


def _published(record: Record) -> Record:
    observed = cast("Mapping[str, Json]", record["observed"])
    return record | {"observed": {**observed, "copied_from": None}}
