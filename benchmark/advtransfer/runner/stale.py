"""Records that were made with other code of a plugin than is installed, under the same version: told and set aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from advtransfer.errors import CacheError
from advtransfer.host import Host
from advtransfer.host.code import plugins_of
from advtransfer.node import Node
from advtransfer.plan import Plan
from advtransfer.plan.nodes import Cells
from advtransfer.result import Record, Run
from advtransfer.result.record import batteries_of
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class Stale:
    """Stale records of a plan: by id what each is of, in words; and the plugins whose code has changed."""

    records: Mapping[str, str]
    plugins: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.records)


def changed_code(record: Mapping[str, Json], host: Host) -> list[str]:
    """The plugins of a record whose installed code is another than the one that it was made with."""
    observed = record.get("observed")
    return host.changed(observed.get("code")) if isinstance(observed, Mapping) else []


def stale_records(plan: Plan, run: Run, host: Host) -> Stale:
    """The records behind a plan that are stale, and the failures that would not be tried again, such as a divergence.

    What does not say its code is not stale.
    """
    found: dict[str, str] = {}
    plugins: set[str] = set()
    failed = {id: one for id, one in run.attempts().items() if one.get("deterministic")}
    for id, name in _shown(plan, run):
        record = _read(run, id) or failed.get(id, {})
        if id not in found and (changed := changed_code(record, host)):
            found[id] = name
            plugins |= set(changed)
    return Stale(found, tuple(sorted(plugins)))


def set_aside(run: Run, stale: Stale, cells: Cells) -> None:
    """Move stale records out of the way, so that they are measured again; and forget the content of stale data sets."""
    for id in stale.records:
        run.supersede(id)
    for node in _data_sets(cells):
        if not plugins_of(node).isdisjoint(stale.plugins):
            run.unpin(node.id)


def _shown(plan: Plan, run: Run) -> Iterator[tuple[str, str]]:
    """Every record that a plan's page is made from, with what it is of."""
    for id, name in plan.sources.items():
        yield id, f"source {name}"
    for trial in plan.trials:
        yield trial.id, f"fit of {trial.name}"
        for label, ids in trial.evaluations.items():
            for id in ids:
                yield id, f"{label} of {trial.name}"
                for battery in batteries_of(_read(run, id)):
                    yield battery, f"battery of {label} of {trial.name}"


def _read(run: Run, id: str) -> Record:
    """A record; nothing where there is none, or one that cannot be read, which is told elsewhere."""
    try:
        return run.read(id) if run.has(id) else {}
    except (CacheError, OSError):
        return {}


def _data_sets(cells: Cells) -> Iterable[Node]:
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
