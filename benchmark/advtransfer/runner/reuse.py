"""Records of the same id that another run on this machine has: copied, not measured again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from advtransfer.errors import CacheError
from advtransfer.host import Host
from advtransfer.result import Record, Run
from advtransfer.result.record import batteries_of
from advtransfer.result.sound import disagreement
from advtransfer.runner.stale import changed_code
from advtransfer.types import Json

logger = logging.getLogger(__name__)


def reuse(
    run: Run,
    wanted: Iterable[str],
    *,
    known: Iterable[Path],
    environment: str,
    host: Host | None = None,
    warn: Callable[[str], None] = logger.warning,
) -> int:
    """Copy what other runs have recorded in this very environment; gives how many records were copied.

    With a `host`, what was made with other code of a plugin than it has is left where it is. `warn` is told of records
    that are not what they say: they are not copied, and measured here.
    """
    others = [Run(path) for path in known if path.resolve() != run.path.resolve()]
    copied = 0
    for id in wanted:
        found = (_believable(other, id, environment, host, warn) for other in others if other.has(id))
        for place, records in next(filter(None, found), {}).items():
            copied += sum(_copied(record, place, run) for record in records if not run.has(str(record["id"])))
    return copied


def _copied(record: Record, place: Path, run: Run) -> int:
    observed = cast("Mapping[str, Json]", record["observed"])
    run.write(record | {"observed": {**observed, "copied_from": str(place)}})
    return 1


def _believable(
    other: Run, id: str, environment: str, host: Host | None, warn: Callable[[str], None]
) -> dict[Path, list[Record]]:
    """The record and those of its batteries, if each is what it says and was made in this environment, by their run."""
    try:
        record = other.read(id)
        batteries = [other.read(one) for one in batteries_of(record) if other.has(one)]
    except (CacheError, OSError) as error:
        warn(f"not copied, but measured: {error}")
        return {}
    if told := next(filter(None, (disagreement(record, battery) for battery in batteries)), None):
        warn(f"not copied, but measured: the record {id} of {other.path}: {told}")
        return {}
    whole = record.get("samples") is None and not record.get("files")
    if host is not None and any(changed_code(one, host) for one in (record, *batteries)):
        return {}
    made_here = all(_environment(one) == environment for one in (record, *batteries))
    return {other.path: [record, *batteries]} if whole and made_here else {}


def _environment(record: Record) -> Json:
    return cast("Mapping[str, Json]", record["provenance"])["environment"]
