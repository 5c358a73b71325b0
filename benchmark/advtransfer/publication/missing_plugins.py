"""The plan of a suite with components of plugins that are not installed here.

Which cells such a suite has follows from its YAML: entries, sweeps, seeds, n. Only the ids of those
components need their plugin. So the suite is planned with stand-ins, which take any option. Their ids
are taken as the bundle's plan has them; all others are computed, also of what is made from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from advtransfer import suite as suites
from advtransfer.errors import AdvTransferError
from advtransfer.host import Host
from advtransfer.node import Node, content_id
from advtransfer.planning import Plan, Trial, make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.board import FIT_INPUTS
from advtransfer.publication.board_rows import row_key
from advtransfer.publication.cells import (
    SUITE_FILE,
    Fault,
    PlannedSuite,
    planning_faults,
    trial_position,
)
from advtransfer.publication.stand_ins import StandInHost
from advtransfer.suite import Suite
from advtransfer.suite.extends import read_with_parents
from advtransfer.suite.located import Problems
from advtransfer.types import Json

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON


class RecordedNode(NamedTuple):
    """A node whose id is as recorded, since its component is not installed.

    Attributes:
        node: The node, with the options that the suite writes.
        id: Its id in the plan of the bundle.
        inputs: The ids of the nodes that it is made from, as far as they are known.
    """

    node: Node
    id: str
    inputs: Mapping[str, str]


@dataclass(slots=True)
class StandInPlan:
    """The plan that a suite gives without some of its plugins.

    Attributes:
        planned: Suite and plan, with all ids that can be known.
        missing: The plugins that are not installed.
        as_recorded: The nodes whose id is taken from the bundle's plan.
    """

    planned: PlannedSuite
    missing: list[str]
    as_recorded: list[RecordedNode]

    def record_faults(
        self, records: Mapping[str, RecordJson], names: Mapping[str, str]
    ) -> Iterator[Fault]:
        """Yield records of these nodes that are of another component, or made from other things.

        Args:
            records: The valid records of the bundle, by id.
            names: The cell of each id of the plan.
        """
        for recorded in self.as_recorded:
            record = records.get(recorded.id)
            for name, found, expected in _origins(recorded, record["asked"]) if record else ():
                if found != expected:
                    text = f"found the {name} {str(found)[:80]}; expected {str(expected)[:80]}"
                    cell = names.get(recorded.id, recorded.id[:12])
                    yield Fault("records", cell, f"{text}, as suite.yaml gives")


def _origins(recorded: RecordedNode, asked: RecordJson) -> Iterator[tuple[str, object, object]]:
    """Yield what a record was made from, as ``(name, found, expected)``."""
    node, _, inputs = recorded
    yield "component", asked["use"], node.use
    if node.options.get("seed") is not None:
        yield "seed", asked["options"].get("seed"), node.options["seed"]
    # The host gives a fit its inputs; of other kinds, the plugin says which ones it takes.
    names = inputs.keys() & asked["inputs"].keys()
    if node.kind == "fit":
        names = FIT_INPUTS & (inputs.keys() | asked["inputs"].keys() - node.inputs.keys())
    for name in sorted(names):
        yield name, asked["inputs"].get(name), inputs.get(name)


def plan_with_stand_ins(
    folder: Path, written: Plan, host: Host
) -> StandInPlan | list[Fault] | None:
    """Return the plan of a bundle's suite, why there is none, or None if no plugin is missing.

    Args:
        folder: The bundle.
        written: Its plan, from which ids of components that are not installed are taken.
        host: The installed plugins.
    """
    file = folder / SUITE_FILE
    try:
        top, _ = read_with_parents(
            file, file=str(file), problems=Problems(str(file)), may_extend=False
        )
        stand_ins = StandInHost(host, top.to_plain())
        if not stand_ins.missing:
            return None
        suite = suites.load(str(file), stand_ins, may_extend=False)
        suite = _with_needs(suite, written, stand_ins)
        plan = make_plan(suite, stand_ins)
    except AdvTransferError as error:
        return planning_faults(error, folder)
    return _RecordedIds(suite, plan, written, stand_ins).complete()


def _with_needs(suite: Suite, written: Plan, host: StandInHost) -> Suite:
    """Return the suite with transfers that need no source, as the plan says of those not installed."""
    with_source = {trial.transfer for trial in written.trials if trial.source is not None}
    uses = {cell.node.use for cell in suite.transfers if cell.label in with_source}
    transfers = tuple(
        replace(cell, facts=replace(cell.facts, needs=frozenset()))
        if host.is_stand_in(cell.node) and cell.node.use not in uses
        else cell
        for cell in suite.transfers
    )
    return replace(suite, transfers=transfers)


class _RecordedIds:
    """The ids of a suite's nodes, those of stand-ins as the plan of a bundle has them."""

    def __init__(self, suite: Suite, plan: Plan, written: Plan, host: StandInHost) -> None:
        self._suite = suite
        self._plan = plan
        self._written = {trial_position(trial): trial for trial in written.trials}
        self._written_sources = dict(written.sources)
        self._host = host
        self._index = SuiteIndex(suite)
        # The evaluations with a stand-in, whose inputs only the plugin knows.
        self._open_evaluations = {cell.label for cell in suite.evaluations if host.lacks(cell.node)}
        self._ids: dict[str, str] = {}
        self._as_recorded: list[RecordedNode] = []

    def complete(self) -> StandInPlan:
        """Return the plan with all ids that can be known."""
        self._read_sources()
        trials = tuple(map(self._complete_trial, self._plan.trials))
        sources = {self._ids.get(id, id): label for id, label in self._plan.sources.items()}
        labels = {label for trial in trials for label in trial.evaluations}
        also = {label: each for label, each in self._plan.also.items() if label in labels}
        plan = replace(self._plan, trials=trials, sources=sources, also=also)
        return StandInPlan(PlannedSuite(self._suite, plan), self._host.missing, self._as_recorded)

    def _read_sources(self) -> None:
        """Find the ids of sources and references, first of those that others may be made from."""
        references = [cell for target in self._suite.targets for cell in target.references]
        entries = [*self._suite.sources, *references]
        for cell in sorted(entries, key=lambda cell: not self._host.is_stand_in(cell.node)):
            ids = [id for id, label in self._written_sources.items() if label == cell.label]
            self._find_id(cell.node, next(iter(ids), None))

    def _complete_trial(self, trial: Trial) -> Trial:
        """Return a trial of the plan with the ids that it has in the bundle, if they cannot be known."""
        fit = self._index.trial_fit(trial)
        results = self._index.trial_results(trial)
        if not any(map(self._host.lacks, (fit, *results))):
            return trial
        written = self._written.get(trial_position(trial))
        if written is None:
            return trial
        id = self._find_id(fit, written.id)
        evaluations = self._complete_evaluations(trial, written, results)
        builds = [self._ids.get(each, each) for each in trial.builds]
        own = builds[: trial.source is not None]
        builds = [*own, *sorted(builds[len(own) :])]
        return replace(
            trial,
            id=id,
            evaluations=evaluations,
            builds=written.builds if self._open_evaluations else tuple(builds),
            skipped=written.skipped,
        )

    def _complete_evaluations(
        self, trial: Trial, written: Trial, results: Iterable[Node]
    ) -> dict[str, tuple[str, ...]]:
        """Return the ids of a trial's results; those of a plan only where they cannot be computed."""
        nodes = {node.id: node for node in results}
        evaluations: dict[str, tuple[str, ...]] = {}
        for label, ids in trial.evaluations.items():
            recorded = written.evaluations.get(label, ())
            if label not in self._open_evaluations:
                # Without the target's data set, not even the test part is known.
                alike = recorded if len(recorded) == len(ids) else (None,) * len(ids)
                pairs = zip(ids, alike, strict=True)
                evaluations[label] = tuple(self._find_id(nodes[id], other) for id, other in pairs)
            elif recorded or (trial.source is not None and label not in self._plan.also):
                # One that needs a source is absent where the fit has none, and one that needs no
                # fitted model is not measured on further data.
                evaluations[label] = recorded or ids
                self._note_recorded(nodes[ids[0]], recorded)
        return evaluations

    def _find_id(self, node: Node, recorded: str | None) -> str:
        """Return the id of a node if it can be computed, else the recorded one, else the stand-in's."""
        id = self._computed_id(node)
        if id is None:
            self._note_recorded(node, filter(None, [recorded]))
            id = recorded or node.id
        self._ids[node.id] = id
        return id

    def _computed_id(self, node: Node) -> str | None:
        """Return the id of a node; None where it takes a plugin that is not installed."""
        if not self._host.lacks(node):
            return node.id
        if node.id in self._ids:
            return self._ids[node.id]
        inputs: dict[str, Json] = {}
        for name, value in node.inputs.items():
            ids = [
                self._computed_id(each)
                for each in (value if isinstance(value, tuple) else (value,))
            ]
            if None in ids:
                return None
            inputs[name] = cast("list[Json]", ids) if isinstance(value, tuple) else ids[0]
        if self._host.is_stand_in(node):
            return None
        return content_id({**node.id_fields(), "inputs": inputs})

    def _note_recorded(self, node: Node, ids: Iterable[str]) -> None:
        known = {
            name: id
            for name, value in node.inputs.items()
            if isinstance(value, Node) and (id := self._computed_id(value)) is not None
        }
        self._as_recorded += [RecordedNode(node, id, known) for id in ids]


def skip_faults(written: Plan) -> Iterator[Fault]:
    """Yield trials that a plan skips although it has others of their row: a reason holds for a row."""
    rows: dict[object, list[Trial]] = {}
    for trial in written.trials:
        rows.setdefault(row_key(trial), []).append(trial)
    for trials in rows.values():
        if not all(trial.skipped for trial in trials):
            for trial in filter(lambda trial: trial.skipped, trials):
                text = "found a reason to skip it; expected none, as of other trials of its row"
                yield Fault("plan.json", trial.name, text)
