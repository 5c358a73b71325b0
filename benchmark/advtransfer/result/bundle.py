"""A run's records as a few files that a repository can hold.

One sorted line a record, one file a kind, or a few.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias, cast

from advtransfer.files import write_atomic
from advtransfer.result.record import Record, battery_ids
from advtransfer.result.run_folder import Run, record_bytes
from advtransfer.result.sample_values import copy_arrays
from advtransfer.result.validation import path_without_links
from advtransfer.types import Json

RecordLines: TypeAlias = "list[tuple[str, str]]"
"""Records as text, each after its id."""

MAX_FILE_BYTES = 900 * 1024
"""Bytes of one kind's records above which they are spread over files by the first digit of their ids."""


def write_bundle(
    run: Run, folder: Path, *, samples: Mapping[str, Collection[str]] | None = None
) -> Path:
    """Write suite, plan, environments, and what the plan shows of records and attempts; `folder` reads like a run.

    What names paths of one machine is left out: where a record was copied from, and tracebacks.

    Args:
        run: What is published.
        folder: Where; what an earlier writing left goes.
        samples: By record, the arrays beside it that are published with it.
    """
    wanted = _shown_ids(run)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    lines: dict[str, RecordLines] = {}
    for record in run.read_records():
        if record["id"] in wanted:
            fields = (samples or {}).get(str(record["id"]))
            there = copy_arrays(record, fields, run=run.path, folder=folder) if fields else record
            lines.setdefault(str(record["kind"]), []).append(_record_line(_published_record(there)))
    files = {
        f"records/{name}": part
        for kind, found in lines.items()
        for name, part in _spread_over_files(kind, found).items()
    }
    attempts = [
        one | {"traceback": None} for id, one in run.latest_attempts().items() if id in wanted
    ]
    files |= {"attempts": [_record_line(one) for one in attempts]} if attempts else {}
    _write_lines(folder, files)
    write_atomic(folder / "plan.json", record_bytes(run.read_plan()))
    for digest, environment in run.read_environments().items():
        write_atomic(folder / "environments" / f"{digest}.json", record_bytes(environment))
    write_atomic(
        folder / "suite.yaml", path_without_links(run.path, run.path / "suite.yaml").read_bytes()
    )
    return folder


def _write_lines(folder: Path, files: Mapping[str, RecordLines]) -> None:
    contents = {folder / f"{name}.jsonl": _joined_lines(found) for name, found in files.items()}
    for path, content in contents.items():
        write_atomic(path, content)
    for path in {*folder.glob("records/*.jsonl"), folder / "attempts.jsonl"} - contents.keys():
        path.unlink(missing_ok=True)  # of an earlier writing, whose records stand elsewhere now


def _shown_ids(run: Run) -> set[str]:
    """The ids of every record that the plan asks for, and of the batteries behind them."""
    wanted: set[str] = set()
    for trial in cast("list[Mapping[str, Json]]", run.read_plan()["trials"]):
        results = cast("Mapping[str, list[str]]", trial["evaluations"])
        wanted |= {str(trial["id"]), *cast("list[str]", trial["builds"])}
        wanted |= {id for ids in results.values() for id in ids}
    return wanted | {
        id for record in run.read_records() if record["id"] in wanted for id in battery_ids(record)
    }


def _spread_over_files(kind: str, lines: RecordLines) -> dict[str, RecordLines]:
    """The lines of one kind by file: one, or as many as their ids have first digits."""
    if (
        sum(len(line.encode("utf-8", "backslashreplace")) + 1 for _, line in lines)
        <= MAX_FILE_BYTES
    ):
        return {kind: lines}
    found: dict[str, RecordLines] = {}
    for id, line in lines:
        found.setdefault(f"{kind}-{id[0]}", []).append((id, line))
    return found


def _joined_lines(lines: RecordLines) -> bytes:
    return "".join(f"{line}\n" for _, line in sorted(lines)).encode("utf-8", "backslashreplace")


def _record_line(record: Record) -> tuple[str, str]:
    """A record's id, to sort by, and its line."""
    return str(record["id"]), json.dumps(
        record, sort_keys=True, allow_nan=False, ensure_ascii=False
    )


def _published_record(record: Record) -> Record:
    observed = cast("Mapping[str, Json]", record["observed"])
    return record | {"observed": {**observed, "copied_from": None}}
