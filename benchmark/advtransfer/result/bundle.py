"""A run's records in a few files for a repository: one line per record, one or more files per kind.

The lines are compressed, since records of one run repeat each other: a trial takes a tenth.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, cast

from advtransfer.files import write_atomic
from advtransfer.result.machine_paths import shorten_paths
from advtransfer.result.record import Record, battery_ids
from advtransfer.result.record_lines import (
    PACKED_SUFFIX,
    encode_lines,
    pack_lines,
    plan_files,
    record_files,
)
from advtransfer.result.run_folder import Run, record_bytes
from advtransfer.result.sample_values import copy_arrays
from advtransfer.result.validation import path_without_links
from advtransfer.types import Json

RecordLines: TypeAlias = "list[tuple[str, str]]"
"""Pairs of a record's id and its line of JSON."""

MAX_FILE_BYTES = 900 * 1024
"""Packed size above which the records of a kind are spread over files by the first digit of their ids."""

PLAN_LINES = 1000
"""Number of trials in one file of a plan that is too large for ``plan.json``."""


def write_bundle(
    run: Run, folder: Path, *, samples: Mapping[str, Collection[str]] | None = None
) -> Path:
    """Write suite, plan, environments, and the records and attempts of the plan; return `folder`.

    The folder can be read like a run. Fields with paths of this machine are left out: the run that a record
    was copied from, and tracebacks; of paths in the reason of a failure only the last part is left.

    Args:
        run: The run to publish.
        folder: The target folder; files of an earlier bundle are replaced.
        samples: The names of the arrays to publish, by record id.
    """
    shown_ids = _shown_ids(run)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    lines: dict[str, RecordLines] = {}
    for record in run.read_records():
        if record["id"] not in shown_ids:
            continue
        if fields := (samples or {}).get(str(record["id"])):
            record = copy_arrays(record, fields, run=run.path, folder=folder)
        lines.setdefault(str(record["kind"]), []).append(_record_line(_published_record(record)))
    files: dict[str, bytes] = {}
    for kind, kind_lines in lines.items():
        files |= _packed_files(kind, kind_lines)
    attempts = [
        _record_line(_published_attempt(attempt))
        for id, attempt in run.latest_attempts().items()
        if id in shown_ids
    ]
    if attempts:
        files["attempts.jsonl"] = encode_lines(_sorted_lines(attempts))
    _write_files(folder, files)
    _write_plan(folder, run.read_plan())
    for digest, environment in run.read_environments().items():
        write_atomic(folder / "environments" / f"{digest}.json", record_bytes(environment))
    write_atomic(
        folder / "suite.yaml", path_without_links(run.path, run.path / "suite.yaml").read_bytes()
    )
    return folder


def _write_plan(folder: Path, plan: Record) -> None:
    """Write a plan as ``plan.json`` or, if it is too large for one file, as `plan_files`."""
    for path in plan_files(folder):
        path.unlink()
    content = encode_lines([_compact_json(plan)])
    if len(content) <= MAX_FILE_BYTES:
        write_atomic(folder / "plan.json", content)
        return
    (folder / "plan.json").unlink(missing_ok=True)
    trials = cast("list[Mapping[str, Json]]", plan["trials"])
    head = {name: value for name, value in plan.items() if name != "trials"}
    lines = list(map(_compact_json, [head, *trials]))
    for part in range(0, len(lines), PLAN_LINES):
        name = f"plan-{part // PLAN_LINES:04}{PACKED_SUFFIX}"
        write_atomic(folder / name, pack_lines(lines[part : part + PLAN_LINES]))


def write_record_files(folder: Path, records: Iterable[Record]) -> None:
    """Replace the records of a bundle by others."""
    lines: dict[str, RecordLines] = {}
    for record in records:
        lines.setdefault(str(record["kind"]), []).append(_record_line(record))
    for path in record_files(folder):
        path.unlink()
    for kind, kind_lines in lines.items():
        for name, content in _packed_files(kind, kind_lines).items():
            write_atomic(folder / name, content)


def _write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        write_atomic(folder / name, content)
    # Others are from an earlier bundle, whose records are in other files now.
    written = {folder / name for name in contents}
    for path in {*record_files(folder), folder / "attempts.jsonl"} - written:
        path.unlink(missing_ok=True)


def _shown_ids(run: Run) -> set[str]:
    """Return the ids of all records of the plan, and of the batteries behind them."""
    planned: set[str] = set()
    for trial in cast("list[Mapping[str, Json]]", run.read_plan()["trials"]):
        results = cast("Mapping[str, list[str]]", trial["evaluations"])
        planned |= {str(trial["id"]), *cast("list[str]", trial["builds"])}
        planned.update(*results.values())
    batteries: set[str] = set()
    attacked: set[tuple[Json, Json]] = set()
    for record in run.read_records():
        if record["id"] in planned:
            batteries.update(battery_ids(record))
            attacked.add(_model_and_test(record))
    attacked.discard((None, None))
    # A result may name a battery of an old version, after which a new one has attacked its model.
    for record in run.read_records():
        if record["kind"] == "battery" and _model_and_test(record) in attacked:
            batteries.add(str(record["id"]))
    return planned | batteries


def _model_and_test(record: Record) -> tuple[Json, Json]:
    inputs = cast("Mapping[str, Mapping[str, Json]]", record["asked"])["inputs"]
    return inputs.get("model"), inputs.get("test")


def _packed_files(kind: str, lines: RecordLines) -> dict[str, bytes]:
    """Return the files of one kind: one, or one for each first digit of the ids."""
    packed = pack_lines(_sorted_lines(lines))
    if len(packed) <= MAX_FILE_BYTES:
        return {f"records/{kind}{PACKED_SUFFIX}": packed}
    parts: dict[str, RecordLines] = {}
    for id, line in lines:
        parts.setdefault(id[0], []).append((id, line))
    return {
        f"records/{kind}-{digit}{PACKED_SUFFIX}": pack_lines(_sorted_lines(part))
        for digit, part in parts.items()
    }


def _sorted_lines(lines: RecordLines) -> list[str]:
    return [line for _, line in sorted(lines)]


def _record_line(record: Record) -> tuple[str, str]:
    """Return a record's id, to sort by, and its line."""
    return str(record["id"]), _compact_json(record)


def _compact_json(value: Mapping[str, Json]) -> str:
    return json.dumps(
        value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )


def _published_attempt(attempt: Record) -> Record:
    texts: Record = {
        name: shorten_paths(text)
        for name in ("reason", "exception")
        if isinstance(text := attempt.get(name), str)
    }
    return attempt | texts | {"traceback": None}


def _published_record(record: Record) -> Record:
    observed = cast("Mapping[str, Json]", record["observed"])
    return record | {"observed": {**observed, "copied_from": None}}
