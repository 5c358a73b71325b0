"""The numbers that a page needs from a run's plan and records.

Each record is read once and reduced to a few values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from advtransfer.leaderboard.questions_config import metric_stem, metric_stems, read_questions
from advtransfer.planning import Plan, Trial
from advtransfer.planning.status import Attempt, TrialStatus, trial_status
from advtransfer.result.sample_values import values_by_metric
from advtransfer.result.verdict import Verdict, verdict_from_record
from advtransfer.types import Json

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

JsonObject: TypeAlias = Mapping[str, Any]
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
    sample_count: int | None = None


@dataclass(frozen=True, slots=True)
class ResultData:
    """What one result record says.

    `outcomes`, as the record packs them, and `means`, the arrays ``(N,)`` that metrics are the means of, are kept where
    a question may resample them; `test` and `reference` are the ids of the test samples and of the reference model;
    `files` are names with paths in the run folder.
    """

    id: str
    metrics: Mapping[str, Metric]
    verdict: Verdict
    test_id: str = ""
    reference_id: str = ""
    outcomes: Mapping[str, JsonObject] = field(default_factory=dict)
    image_values: Mapping[str, FloatArray] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceData:
    """What one source record says: its card, what the start-up probe measured, and where its training started.

    `start` is ``own``, or ``source`` where sources of its seed start from the same weights; None where none are drawn.
    """

    card: JsonObject
    probe: JsonObject | None
    start: str | None = None


class RecordEnvironment(NamedTuple):
    """What a record was made on: its environment's digest, and the line that numbers depend on."""

    environment: str
    device: str
    threads: int
    precision: str


@dataclass(frozen=True, slots=True)
class RunData:
    """A run, boiled down: by record id, except where something else is said.

    `metrics` and `uses` are by evaluation label: the names that its records know, and its component and options as
    recorded. `leaks` is by target and row.
    """

    plan: Plan
    metrics: dict[str, set[str]]
    results: dict[str, ResultData] = field(default_factory=dict)
    source_data: dict[str, SourceData] = field(default_factory=dict)
    labels_used: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    evaluation_uses: dict[str, tuple[str, JsonObject]] = field(default_factory=dict)
    leakage: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    environments: Mapping[str, JsonObject] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""
    environment_counts: Counter[RecordEnvironment] = field(default_factory=Counter)
    environment_by_id: dict[str, RecordEnvironment] = field(default_factory=dict)

    def has_unusual_environment(self, id: str) -> bool:
        """Whether a record was made on another device, thread count or precision than most of the page."""
        lines: Counter[tuple[str, int, str]] = Counter()
        for machine, records in sorted(self.environment_counts.items()):
            lines[machine[1:]] += records
        usual = max(lines, key=lambda line: lines[line], default=None)
        return id in self.environment_by_id and self.environment_by_id[id][1:] != usual

    def has_record(self, id: str) -> bool:
        """Whether a record is there."""
        return id in self.seconds

    def trial_state(self, trial: Trial) -> TrialStatus:
        """How a trial stands."""
        return trial_status(
            trial, done=self.has_record, attempts=self.attempts, sources=self.plan.sources
        )


def gather_run_data(run: RunRecords) -> RunData:
    """Read a run's records; those that its plan does not name (from an earlier plan) are left out.

    Raises:
        BadInput: A question of the suite is none.
        CacheError: Arrays that a question is about are not those that were recorded.
    """
    plan = Plan.from_json(run.plan)
    labels = {label for trial in plan.trials for label in trial.evaluations}
    metrics: dict[str, set[str]] = {label: set() for label in sorted(labels)}
    evidence = RunData(
        plan, metrics, environments=run.environments, files=run.files, folder=run.folder
    )
    named = {
        id: label for trial in plan.trials for label, ids in trial.evaluations.items() for id in ids
    }
    fits = {trial.id: trial for trial in plan.trials}
    asked = read_questions(plan.leaderboard)
    questioned = {label: metric_stems(asked, label) for label in labels}
    for record in run.records:
        id = str(record["id"])
        if id in named or id in fits or id in plan.sources:
            _add_record(evidence, id, record, label=named.get(id))
            if id in named:
                evidence.results[id] = _result_data(
                    record, asked=questioned[named[id]], root=run.root
                )
            if id in fits and record.get("leakage"):
                evidence.leakage[fits[id].target, fits[id].row or ""] = _as_mapping(
                    record["leakage"]
                )
    for attempt in run.attempts:
        id = str(attempt["id"])
        if not evidence.has_record(id):
            evidence.attempts[id] = Attempt(str(attempt.get("status")), str(attempt["reason"]))
    return evidence


def _as_mapping(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _add_record(evidence: RunData, id: str, record: JsonObject, *, label: str | None) -> None:
    if label is not None:
        evidence.metrics[label].update(record["metrics"])
        evidence.evaluation_uses[label] = (record["asked"]["use"], record["asked"]["options"])
    elif record["kind"] == "source":
        evidence.source_data[id] = SourceData(
            record["card"], record.get("probe"), _training_start(record["asked"]["options"])
        )
    elif used := record.get("facts", {}).get("labels_used"):
        evidence.labels_used[id] = int(used)
    evidence.seconds[id] = fsum(record.get("observed", {}).get("seconds", {}).values())
    by = record.get("provenance", {})
    machine = RecordEnvironment(
        by.get("environment", ""),
        by.get("device", ""),
        by.get("threads", 0),
        by.get("precision", ""),
    )
    evidence.environment_counts[machine] += 1
    evidence.environment_by_id[id] = machine


def _training_start(options: JsonObject) -> str | None:
    return str(options.get("start", "source")) if "seed" in options else None


def _result_data(record: JsonObject, *, asked: set[str], root: Path | None) -> ResultData:
    """What a result says; `asked` are the names of metrics that questions are about."""
    wanted = {name for name in record["metrics"] if metric_stem(name) in asked}
    inputs = record["asked"]["inputs"]
    return ResultData(
        str(record["id"]),
        _read_metrics(record["metrics"]),
        verdict_from_record(record),
        test_id=str(inputs.get("test", "")),
        reference_id=str(inputs.get("reference", "")),
        outcomes={name: one for name, one in record.get("outcomes", {}).items() if name in wanted},
        image_values=values_by_metric(root, record, wanted) if root else {},
        files=record.get("files", {}),
    )


def _read_metrics(metrics: Mapping[str, JsonObject]) -> dict[str, Metric]:
    return {
        name: Metric(one.get("low", one["value"]), one.get("high", one["value"]), one.get("of"))
        for name, one in metrics.items()
    }
