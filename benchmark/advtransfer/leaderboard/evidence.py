"""What a page needs of a run's records: read once, one record at a time, and boiled down to a few numbers each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from advtransfer.leaderboard.asked import questions, stem, stems
from advtransfer.plan import Plan, Trial
from advtransfer.plan.status import Attempt, State, state_of
from advtransfer.result.samples import means_of
from advtransfer.types import Json
from advtransfer.verdict import Verdict, verdict_of

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import Values

Read: TypeAlias = Mapping[str, Any]
"""A JSON object as `advtransfer.result` wrote it. Any: its fields are as varied as the kinds of record."""


@dataclass(frozen=True, slots=True)
class RunRecords:
    """A run as plain data: its plan, its records (read once), the attempts without a record, its environments.

    `files` are the files of its records that are there, by the name that records have for them, with their bytes in
    size; `folder` leads to them from the page. `root` is where the arrays beside its records lie.
    `damaged` are records that do not agree with themselves, by where they lie, with the reason.
    """

    plan: Mapping[str, Json]
    records: Iterable[Mapping[str, Json]]
    attempts: Iterable[Mapping[str, Json]] = ()
    environments: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""
    root: Path | None = None
    damaged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of one result; `of` is the number of test samples when it is a share of them.

    `low` counts samples whose outcome is unknown as broken, `high` as robust; without unknowns both are the value.
    """

    low: float
    high: float
    of: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one result record says.

    `outcomes`, as the record packs them, and `means`, the arrays ``(N,)`` that metrics are the means of, are kept where
    a question may resample them; `test` and `reference` are the ids of the test samples and of the reference model;
    `files` are names with paths in the run folder.
    """

    id: str
    metrics: Mapping[str, Metric]
    verdict: Verdict
    test: str = ""
    reference: str = ""
    outcomes: Mapping[str, Read] = field(default_factory=dict)
    means: Mapping[str, Values] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Built:
    """What one source record says: its card, what the start-up probe measured, and where its training started.

    `start` is ``own``, or ``source`` where sources of its seed start from the same weights; None where none are drawn.
    """

    card: Read
    probe: Read | None
    start: str | None = None


class Machine(NamedTuple):
    """What a record was made on: its environment's digest, and the line that numbers depend on."""

    environment: str
    device: str
    threads: int
    precision: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run, boiled down: by record id, except where something else is said.

    `metrics` and `uses` are by evaluation label: the names that its records know, and its component and options as
    recorded. `leaks` is by target and row.
    """

    plan: Plan
    metrics: dict[str, set[str]]
    answers: dict[str, Answer] = field(default_factory=dict)
    built: dict[str, Built] = field(default_factory=dict)
    labels_used: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    uses: dict[str, tuple[str, Read]] = field(default_factory=dict)
    leaks: dict[tuple[str, str], Read] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    environments: Mapping[str, Read] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""
    machines: Counter[Machine] = field(default_factory=Counter)
    measured_on: dict[str, Machine] = field(default_factory=dict)

    def odd(self, id: str) -> bool:
        """Whether a record was made on another device, thread count or precision than most of the page."""
        lines: Counter[tuple[str, int, str]] = Counter()
        for machine, records in sorted(self.machines.items()):
            lines[machine[1:]] += records
        usual = max(lines, key=lambda line: lines[line], default=None)
        return id in self.measured_on and self.measured_on[id][1:] != usual

    def done(self, id: str) -> bool:
        """Whether a record is there."""
        return id in self.seconds

    def state(self, trial: Trial) -> State:
        """How a trial stands."""
        return state_of(trial, done=self.done, attempts=self.attempts, sources=self.plan.sources)


def gather(run: RunRecords) -> Evidence:
    """Read a run's records; those that its plan does not name (from an earlier plan) are left out.

    Raises:
        BadInput: A question of the suite is none.
        CacheError: Arrays that a question is about are not those that were recorded.
    """
    plan = Plan.from_json(run.plan)
    labels = {label for trial in plan.trials for label in trial.evaluations}
    metrics: dict[str, set[str]] = {label: set() for label in sorted(labels)}
    evidence = Evidence(plan, metrics, environments=run.environments, files=run.files, folder=run.folder)
    named = {id: label for trial in plan.trials for label, ids in trial.evaluations.items() for id in ids}
    fits = {trial.id: trial for trial in plan.trials}
    asked = questions(plan.leaderboard)
    questioned = {label: stems(asked, label) for label in labels}
    for record in run.records:
        id = str(record["id"])
        if id in named or id in fits or id in plan.sources:
            _take(evidence, id, record, label=named.get(id))
            if id in named:
                evidence.answers[id] = _answer(record, asked=questioned[named[id]], root=run.root)
            if id in fits and record.get("leakage"):
                evidence.leaks[fits[id].target, fits[id].row or ""] = _mapping(record["leakage"])
    for attempt in run.attempts:
        id = str(attempt["id"])
        if not evidence.done(id):
            evidence.attempts[id] = Attempt(str(attempt.get("status")), str(attempt["reason"]))
    return evidence


def _mapping(value: Json) -> Read:
    return value if isinstance(value, Mapping) else {}


def _take(evidence: Evidence, id: str, record: Read, *, label: str | None) -> None:
    if label is not None:
        evidence.metrics[label].update(record["metrics"])
        evidence.uses[label] = (record["asked"]["use"], record["asked"]["options"])
    elif record["kind"] == "source":
        evidence.built[id] = Built(record["card"], record.get("probe"), _start(record["asked"]["options"]))
    elif used := record.get("facts", {}).get("labels_used"):
        evidence.labels_used[id] = int(used)
    evidence.seconds[id] = fsum(record.get("observed", {}).get("seconds", {}).values())
    by = record.get("provenance", {})
    machine = Machine(by.get("environment", ""), by.get("device", ""), by.get("threads", 0), by.get("precision", ""))
    evidence.machines[machine] += 1
    evidence.measured_on[id] = machine


def _start(options: Read) -> str | None:
    return str(options.get("start", "source")) if "seed" in options else None


def _answer(record: Read, *, asked: set[str], root: Path | None) -> Answer:
    """What a result says; `asked` are the names of metrics that questions are about."""
    wanted = {name for name in record["metrics"] if stem(name) in asked}
    inputs = record["asked"]["inputs"]
    return Answer(
        str(record["id"]),
        _metrics(record["metrics"]),
        verdict_of(record),
        test=str(inputs.get("test", "")),
        reference=str(inputs.get("reference", "")),
        outcomes={name: one for name, one in record.get("outcomes", {}).items() if name in wanted},
        means=means_of(root, record, wanted) if root else {},
        files=record.get("files", {}),
    )


def _metrics(metrics: Mapping[str, Read]) -> dict[str, Metric]:
    return {
        name: Metric(one.get("low", one["value"]), one.get("high", one["value"]), one.get("of"))
        for name, one in metrics.items()
    }
