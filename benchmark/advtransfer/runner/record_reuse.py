"""Reuse of existing records: copied from other runs on this machine, or superseded.

A record is stale, and superseded, when a plugin's code has changed under the same version since the
record was made.
"""

from __future__ import annotations

import json
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
from advtransfer.result.record_index import RecordIndex
from advtransfer.result.validation import battery_disagreement
from advtransfer.types import Json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StaleRecords:
    """Stale records of a plan: a description of each by id, and the plugins whose code changed."""

    records: Mapping[str, str]
    plugins: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.records)


def changed_plugins(record: Mapping[str, Json], host: Host) -> list[str]:
    """Return the plugins of a record whose installed code differs from the code that made it."""
    observed = record.get("observed")
    return host.changed_plugins(observed.get("code")) if isinstance(observed, Mapping) else []


def find_stale_records(plan: Plan, run: Run, host: Host) -> StaleRecords:
    """Return the stale records behind a plan.

    They include stale failures that would not be attempted again, such as a divergence. Records
    that do not state their code are not stale.
    """
    index = run.index()
    changed = {
        code: names
        for code in set(index.codes.values())
        if (names := host.changed_plugins(json.loads(code)))
    }
    plugins: dict[str, list[str]] = {}
    if changed:
        plugins = {id: changed[code] for id, code in index.codes.items() if code in changed}
    for id, attempt in run.latest_attempts().items():
        if attempt.get("deterministic") and (names := changed_plugins(attempt, host)):
            plugins[id] = names
    if not plugins:
        return StaleRecords({}, ())
    descriptions: dict[str, str] = {}
    for id, description in _records_behind_page(plan, index):
        if id in plugins:
            descriptions.setdefault(id, description)
    changed_names = {name for id in descriptions for name in plugins[id]}
    return StaleRecords(descriptions, tuple(sorted(changed_names)))


def find_unasked_records(plan: Plan, run: Run) -> list[str]:
    """Return the ids of valid records that the plan does not ask for, sorted.

    A suite that was changed leaves them: they are on no page, and stay for suites that ask for them again.
    """
    index = run.index()
    asked = set(plan.sources).union(*[trial.record_ids() for trial in plan.trials])
    # The plan does not name batteries: they belong to the results that it asks for.
    return sorted(index.states.keys() - asked.union(index.batteries_behind(asked)))


def supersede_records(run: Run, stale: StaleRecords, cells: SuiteIndex) -> None:
    """Set stale records aside, so that they are made again, and unpin stale data sets."""
    for id in stale.records:
        run.supersede_record(id)
    for node in _datasets_of(cells):
        # Other code of a plugin may read another content, which the pin would refuse.
        if not plugins_of(node).isdisjoint(stale.plugins):
            run.unpin_data(node.id)


def _records_behind_page(plan: Plan, index: RecordIndex) -> Iterator[tuple[str, str]]:
    """Yield id and description of every record that a plan's page is made from."""
    for id, name in plan.sources.items():
        yield id, f"source {name}"
    for trial in plan.trials:
        yield trial.id, f"fit of {trial.name}"
        for label, ids in trial.evaluations.items():
            for id in ids:
                yield id, f"{label} of {trial.name}"
                for battery in index.batteries_behind([id]):
                    yield battery, f"battery of {label} of {trial.name}"


def _datasets_of(cells: SuiteIndex) -> Iterable[Node]:
    """Return every data set of a suite, including those that other nodes are made from."""
    waiting = [cell.node for cell in (*cells.suite.datasets, *cells.suite.sources)]
    for target in cells.suite.targets:
        waiting += [cell.node for cell in (target.data, *target.references)]
    datasets: dict[str, Node] = {}
    while waiting:
        node = waiting.pop()
        if node.kind == "data":
            datasets[node.id] = node
        for value in node.inputs.values():
            waiting += value if isinstance(value, tuple) else (value,)
    return datasets.values()


def copy_records(
    run: Run,
    wanted: Iterable[str],
    *,
    known: Iterable[Path],
    environment: str,
    host: Host | None = None,
    warn: Callable[[str], None] = logger.warning,
) -> int:
    """Copy records that other runs made in the same environment; return how many were copied.

    Args:
        run: The run to copy to.
        wanted: Ids of the records to copy, if another run has them.
        known: Folders of the other runs.
        environment: Digest of the environment.
        host: With a host, records that other code of a plugin made are not copied.
        warn: Receives a message for records that cannot be read or disagree with their batteries;
            they are not copied.
    """
    others = [Run(path) for path in known if path.resolve() != run.path.resolve()]
    copied = 0
    for id in wanted:
        for other in others:
            records = _copyable_records(other, id, environment, host, warn)
            if records:
                copied += _copy_missing(records, other.path, run)
                break
    return copied


def find_copyable(
    run: Run, wanted: Iterable[str], *, known: Iterable[Path], environment: str, host: Host | None
) -> set[str]:
    """Return the ids that `copy_records` would copy; its arguments are the same."""
    others = [Run(path) for path in known if path.resolve() != run.path.resolve()]

    def ignore(warning: str) -> None:
        """Leave the warning to the run that copies."""

    return {
        id
        for id in wanted
        if any(_copyable_records(other, id, environment, host, ignore) for other in others)
    }


def _copy_missing(records: list[Record], origin: Path, run: Run) -> int:
    """Copy the records that a run lacks, and return their number."""
    copied = 0
    for record in records:
        # A battery may have come with another result already.
        if not run.has_record(str(record["id"])):
            observed = cast("Mapping[str, Json]", record["observed"])
            run.write_record(record | {"observed": {**observed, "copied_from": str(origin)}})
            copied += 1
    return copied


def _copyable_records(
    other: Run, id: str, environment: str, host: Host | None, warn: Callable[[str], None]
) -> list[Record]:
    """Return a record with its batteries, if all are valid and were made in this environment."""
    if not other.has_record(id):
        return []
    try:
        record = other.read_record(id)
        batteries = [other.read_record(battery) for battery in other.batteries_behind(record)]
    except (CacheError, OSError) as error:
        warn(f"not copied, but measured: {error}")
        return []
    for battery in batteries:
        # Newer batteries than the one that a result names have checks of their own.
        if battery["id"] not in battery_ids(record):
            continue
        disagreement = battery_disagreement(record, battery)
        if disagreement:
            warn(f"not copied, but measured: the record {id} of {other.path}: {disagreement}")
            return []
    # Arrays and figures beside a record are not copied, so a record with them stays.
    if record.get("samples") is not None or record.get("files"):
        return []
    records = [record, *batteries]
    if host is not None and any(changed_plugins(item, host) for item in records):
        return []
    same_environment = all(_environment_digest(item) == environment for item in records)
    return records if same_environment else []


def _environment_digest(record: Record) -> Json:
    return cast("Mapping[str, Json]", record["provenance"])["environment"]
