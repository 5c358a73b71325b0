"""Records of the same id that another run on this machine has: copied, not measured again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from advtransfer.errors import CacheError
from advtransfer.host import Host
from advtransfer.node import canonical, digest
from advtransfer.result import Record, Run
from advtransfer.result.record import batteries_of
from advtransfer.runner.stale import changed_code
from advtransfer.types import Json


def reuse(run: Run, wanted: Iterable[str], *, known: Iterable[Path], environment: str, host: Host | None = None) -> int:
    """Copy what other runs have recorded in this very environment; gives how many records were copied.

    With a `host`, what was made with other code of a plugin than it has is left where it is.
    """
    others = [Run(path) for path in known if path.resolve() != run.path.resolve()]
    copied = 0
    for id in wanted:
        found = next((other for other in others if other.has(id)), None)
        record = _believable(found, id, environment, host) if found else None
        if found and record:
            copied += _copied(record, found, run)
            evidence = (_believable(found, one, environment, host) for one in batteries_of(record) if not run.has(one))
            copied += sum(_copied(battery, found, run) for battery in evidence if battery)
    return copied


def _copied(record: Record, found: Run, run: Run) -> int:
    observed = cast("Mapping[str, Json]", record["observed"])
    run.write(record | {"observed": {**observed, "copied_from": str(found.path)}})
    return 1


def _believable(other: Run, id: str, environment: str, host: Host | None) -> Record | None:
    """The record, if it is what its id says and was made in this environment; a damaged one is measured again."""
    try:
        record = other.read(id)
        provenance = cast("Mapping[str, Json]", record["provenance"])
    except (CacheError, KeyError, OSError):
        return None
    same = record.get("id") == id == digest(canonical(record.get("asked")))
    whole = record.get("samples") is None and not record.get("files")
    if host is not None and changed_code(record, host):
        return None
    return record if same and whole and provenance.get("environment") == environment else None
