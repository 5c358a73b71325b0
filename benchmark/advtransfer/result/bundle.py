"""A run's records as a few files that a repository can hold: one sorted line a record, one file a kind, or a few."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias, cast

from advtransfer.files import write_whole
from advtransfer.result.foreign import within
from advtransfer.result.record import Record, batteries_of
from advtransfer.result.run import Run, text
from advtransfer.result.samples import keep
from advtransfer.types import Json

Lines: TypeAlias = "list[tuple[str, str]]"
"""Records as text, each after its id."""

LARGEST = 900 * 1024
"""Bytes of one kind's records above which they are spread over files by the first digit of their ids."""


def write_bundle(run: Run, folder: Path, *, samples: Mapping[str, Collection[str]] | None = None) -> Path:
    """Write suite, plan, environments, and what the plan shows of records and attempts; `folder` reads like a run.

    What names paths of one machine is left out: where a record was copied from, and tracebacks.

    Args:
        run: What is published.
        folder: Where; what an earlier writing left goes.
        samples: By record, the arrays beside it that are published with it.
    """
    wanted = _shown(run)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    lines: dict[str, Lines] = {}
    for record in run.records():
        if record["id"] in wanted:
            fields = (samples or {}).get(str(record["id"]))
            there = keep(record, fields, run=run.path, folder=folder) if fields else record
            lines.setdefault(str(record["kind"]), []).append(_line(_published(there)))
    files = {f"records/{name}": part for kind, found in lines.items() for name, part in _spread(kind, found).items()}
    attempts = [one | {"traceback": None} for id, one in run.attempts().items() if id in wanted]
    files |= {"attempts": [_line(one) for one in attempts]} if attempts else {}
    _write_lines(folder, files)
    write_whole(folder / "plan.json", text(run.plan()))
    for digest, environment in run.environments().items():
        write_whole(folder / "environments" / f"{digest}.json", text(environment))
    write_whole(folder / "suite.yaml", within(run.path, run.path / "suite.yaml").read_bytes())
    return folder


def _write_lines(folder: Path, files: Mapping[str, Lines]) -> None:
    contents = {folder / f"{name}.jsonl": _joined(found) for name, found in files.items()}
    for path, content in contents.items():
        write_whole(path, content)
    for path in {*folder.glob("records/*.jsonl"), folder / "attempts.jsonl"} - contents.keys():
        path.unlink(missing_ok=True)  # of an earlier writing, whose records stand elsewhere now


def _shown(run: Run) -> set[str]:
    """The ids of every record that the plan asks for, and of the batteries behind them."""
    wanted: set[str] = set()
    for trial in cast("list[Mapping[str, Json]]", run.plan()["trials"]):
        results = cast("Mapping[str, list[str]]", trial["evaluations"])
        wanted |= {str(trial["id"]), *cast("list[str]", trial["builds"])}
        wanted |= {id for ids in results.values() for id in ids}
    return wanted | {id for record in run.records() if record["id"] in wanted for id in batteries_of(record)}


def _spread(kind: str, lines: Lines) -> dict[str, Lines]:
    """The lines of one kind by file: one, or as many as their ids have first digits."""
    if sum(len(line.encode("utf-8", "backslashreplace")) + 1 for _, line in lines) <= LARGEST:
        return {kind: lines}
    found: dict[str, Lines] = {}
    for id, line in lines:
        found.setdefault(f"{kind}-{id[0]}", []).append((id, line))
    return found


def _joined(lines: Lines) -> bytes:
    return "".join(f"{line}\n" for _, line in sorted(lines)).encode("utf-8", "backslashreplace")


def _line(record: Record) -> tuple[str, str]:
    """A record's id, to sort by, and its line."""
    return str(record["id"]), json.dumps(record, sort_keys=True, allow_nan=False, ensure_ascii=False)


def _published(record: Record) -> Record:
    observed = cast("Mapping[str, Json]", record["observed"])
    return record | {"observed": {**observed, "copied_from": None}}
