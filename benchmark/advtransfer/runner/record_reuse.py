"""Reuse of existing records: copied from other runs on this machine, or superseded.

A record is superseded when a plugin's code has changed under the same version since the record was made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from advtransfer.errors import CacheError
from advtransfer.host import Host
from advtransfer.host.plugin import plugins_of
from advtransfer.node import Node
from advtransfer.planning import Plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Record, Run
from advtransfer.result.record import battery_ids
from advtransfer.result.validation import battery_disagreement
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class StaleRecords:
    """Stale records of a plan: by id what each is of, in words; and the plugins whose code has changed."""

    records: Mapping[str, str]
    plugins: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.records)


def changed_plugins(record: Mapping[str, Json], host: Host) -> list[str]:
    """The plugins of a record whose installed code is another than the one that it was made with."""
    observed = record.get("observed")
    return host.changed_plugins(observed.get("code")) if isinstance(observed, Mapping) else []


def find_stale_records(plan: Plan, run: Run, host: Host) -> StaleRecords:
    """The records behind a plan that are stale, and the failures that would not be tried again, such as a divergence.

    What does not say its code is not stale.
    """
    found: dict[str, str] = {}
    plugins: set[str] = set()
    failed = {id: one for id, one in run.latest_attempts().items() if one.get("deterministic")}
    for id, name in _records_behind_page(plan, run):
        record = _readable_record(run, id) or failed.get(id, {})
        if id not in found and (changed := changed_plugins(record, host)):
            found[id] = name
            plugins |= set(changed)
    return StaleRecords(found, tuple(sorted(plugins)))


def supersede_records(run: Run, stale: StaleRecords, cells: SuiteIndex) -> None:
    """Move stale records out of the way, so that they are measured again; and forget the content of stale data sets."""
    for id in stale.records:
        run.supersede_record(id)
    for node in _datasets_of(cells):
        if not plugins_of(node).isdisjoint(stale.plugins):
            run.unpin_data(node.id)


def _records_behind_page(plan: Plan, run: Run) -> Iterator[tuple[str, str]]:
    """Every record that a plan's page is made from, with what it is of."""
    for id, name in plan.sources.items():
        yield id, f"source {name}"
    for trial in plan.trials:
        yield trial.id, f"fit of {trial.name}"
        for label, ids in trial.evaluations.items():
            for id in ids:
                yield id, f"{label} of {trial.name}"
                for battery in battery_ids(_readable_record(run, id)):
                    yield battery, f"battery of {label} of {trial.name}"


def _readable_record(run: Run, id: str) -> Record:
    """A record; nothing where there is none, or one that cannot be read, which is told elsewhere."""
    try:
        return run.read_record(id) if run.has_record(id) else {}
    except (CacheError, OSError):
        return {}


def _datasets_of(cells: SuiteIndex) -> Iterable[Node]:
    """Every data set that a suite's sources, targets and the data sets themselves are made of."""
    nodes = [cell.node for cell in (*cells.suite.datasets, *cells.suite.sources)]
    for target in cells.suite.targets:
        nodes += [cell.node for cell in (target.data, *target.references)]
    found: dict[str, Node] = {}
    while nodes:
        node = nodes.pop()
        if node.kind == "data":
            found[node.id] = node
        for value in node.inputs.values():
            nodes += value if isinstance(value, tuple) else (value,)
    return found.values()


logger = logging.getLogger(__name__)


def copy_records(
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
        found = (
            _copyable_records(other, id, environment, host, warn)
            for other in others
            if other.has_record(id)
        )
        for place, records in next(filter(None, found), {}).items():
            copied += sum(
                _copy_record(record, place, run)
                for record in records
                if not run.has_record(str(record["id"]))
            )
    return copied


def _copy_record(record: Record, place: Path, run: Run) -> int:
    observed = cast("Mapping[str, Json]", record["observed"])
    run.write_record(record | {"observed": {**observed, "copied_from": str(place)}})
    return 1


def _copyable_records(
    other: Run, id: str, environment: str, host: Host | None, warn: Callable[[str], None]
) -> dict[Path, list[Record]]:
    """The record and those of its batteries, if each is what it says and was made in this environment, by their run."""
    try:
        record = other.read_record(id)
        batteries = [other.read_record(one) for one in battery_ids(record) if other.has_record(one)]
    except (CacheError, OSError) as error:
        warn(f"not copied, but measured: {error}")
        return {}
    if told := next(
        filter(None, (battery_disagreement(record, battery) for battery in batteries)), None
    ):
        warn(f"not copied, but measured: the record {id} of {other.path}: {told}")
        return {}
    whole = record.get("samples") is None and not record.get("files")
    if host is not None and any(changed_plugins(one, host) for one in (record, *batteries)):
        return {}
    made_here = all(_environment_digest(one) == environment for one in (record, *batteries))
    return {other.path: [record, *batteries]} if whole and made_here else {}


def _environment_digest(record: Record) -> Json:
    return cast("Mapping[str, Json]", record["provenance"])["environment"]
