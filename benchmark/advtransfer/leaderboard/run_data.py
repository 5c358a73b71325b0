"""The numbers that a page needs from a run's plan and records.

Each record is read once and reduced to a few values, so that runs with many records fit into
memory.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from advtransfer.leaderboard.costs import fit_costs
from advtransfer.leaderboard.fit_facts import stated_facts
from advtransfer.leaderboard.questions_config import metric_stems, per_image_metrics
from advtransfer.leaderboard.result_data import Metric, ResultData, read_result
from advtransfer.leaderboard.result_folding import UnfoldedResult, fold_results
from advtransfer.leaderboard.run_records import RunRecords
from advtransfer.leaderboard.source_data import SourceData, read_source
from advtransfer.leaderboard.swept_options import SweptOption, swept_option
from advtransfer.leaderboard.validation import FitCurves, training_curves, validation_metrics
from advtransfer.planning import Plan, Trial
from advtransfer.planning.status import Attempt, TrialStatus, trial_status
from advtransfer.result.battery_index import BatteryIndex
from advtransfer.result.challenges import Challenge, fold_challenges
from advtransfer.result.verdict import Verdict
from advtransfer.statistics import accuracy_weights
from advtransfer.suite.figure_settings import requested_curves, requested_options
from advtransfer.types import Json
from advtransfer.types.in_memory import CANNOT_BE_REBUILT
from advtransfer.types.metric_names import (
    CLAIM_PREFIX,
    COST_LABEL,
    EXPECTED_ROBUSTNESS,
    FIT_LABEL,
    RESERVED_LABELS,
    VALIDATION_LABEL,
    attack_name,
)

FOLDED_FIELDS = ("id", "asked", "battery", "checks", "outcomes", "labels")
"""Fields of a result record that its fold and its verdict read."""

LATEST_TIME = 4e9
"""Seconds since 1970 after which no record was started; records from elsewhere may say anything."""

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object as `advtransfer.result` writes it. Any: fields differ by kind of record."""


class RecordEnvironment(NamedTuple):
    """The environment of a record: its digest, and the settings that change numbers."""

    environment: str
    device: str
    threads: int
    precision: str

    @property
    def settings(self) -> tuple[str, int, str]:
        """Device, thread count and precision, without the digest."""
        return self.device, self.threads, self.precision


@dataclass(frozen=True, slots=True)
class RunData:
    """A run reduced to the values of its page.

    All mappings are by record id (`seconds`: by phase within it; `battery_seconds`: all batteries
    of the run, which are no records of a trial; `started`: when each record was, in seconds since
    1970), except `metrics` (recorded metric names by
    evaluation label), `derived_metrics` (those that only reading gives), `worst` (by trial and
    label of `WORST_LABELS`), `evaluation_uses` (component and options by evaluation label) and
    `leakage` (by target and row). `validation` has what fits measured on held-out images, `costs`
    what they cost, `facts` what their transfers state of them, `curves` those columns of their
    training curves that the suite's figures show,
    `challenges` those that are folded in. `swept` has the options of fits and sources that figures
    show, by record id and option; `root` is the run folder, None for records without files.
    """

    plan: Plan
    metrics: dict[str, set[str]]
    derived_metrics: dict[str, set[str]] = field(default_factory=dict)
    results: dict[str, ResultData] = field(default_factory=dict)
    worst: dict[tuple[str, str], ResultData] = field(default_factory=dict)
    source_data: dict[str, SourceData] = field(default_factory=dict)
    validation: dict[str, ResultData] = field(default_factory=dict)
    costs: dict[str, ResultData] = field(default_factory=dict)
    facts: dict[str, ResultData] = field(default_factory=dict)
    curves: dict[str, FitCurves] = field(default_factory=dict)
    labels_used: dict[str, int] = field(default_factory=dict)
    swept: dict[tuple[str, str], SweptOption] = field(default_factory=dict)
    root: Path | None = None
    seconds: dict[str, Mapping[str, float]] = field(default_factory=dict)
    battery_seconds: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    evaluation_uses: dict[str, tuple[str, JsonObject]] = field(default_factory=dict)
    leakage: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    challenges: list[Challenge] = field(default_factory=list)
    environments: Mapping[str, JsonObject] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""
    subfolders: Mapping[str, str] = field(default_factory=dict)
    environment_counts: Counter[RecordEnvironment] = field(default_factory=Counter)
    environment_by_id: dict[str, RecordEnvironment] = field(default_factory=dict)

    def has_unusual_environment(self, ids: Iterable[str]) -> bool:
        """Return whether device, thread count or precision of a record differ from those of most records."""
        counts: Counter[tuple[str, int, str]] = Counter()
        # Sorted, since `max` takes the first of several equal counts: records come in any order.
        for environment, record_count in sorted(self.environment_counts.items()):
            counts[environment.settings] += record_count
        usual = max(counts, key=lambda settings: counts[settings], default=None)
        used = {self.environment_by_id[id] for id in ids if id in self.environment_by_id}
        return any(environment.settings != usual for environment in used)

    @property
    def date(self) -> str:
        """The day of the newest record in UTC, ``2026-11-28``; empty where no record tells."""
        newest = max(self.started, default=None)
        return "" if newest is None else f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d}"

    def has_record(self, id: str) -> bool:
        """Return whether the run has a record with this id."""
        return id in self.seconds

    def trial_results(self, trial: Trial, evaluation: str) -> list[ResultData | None]:
        """Return a trial's results of an evaluation, one per reference; None for a missing one."""
        if evaluation not in RESERVED_LABELS:
            return [self.results.get(id) for id in trial.evaluations.get(evaluation, ())]
        if evaluation == VALIDATION_LABEL:
            return [self.validation.get(trial.id)]
        if evaluation == COST_LABEL:
            return [self.costs.get(trial.id)]
        if evaluation == FIT_LABEL:
            return [self.facts.get(trial.id)]
        return [self.worst.get((trial.id, evaluation))]

    def in_memory_note(self, trial: Trial) -> str | None:
        """Return the note of a trial on a module that cannot be rebuilt; None for other trials."""
        pending = list(trial.builds)
        while pending:
            source = self.source_data.get(pending.pop())
            if source is not None and source.in_memory:
                return CANNOT_BE_REBUILT
            pending += source.parents if source is not None else ()
        return None

    def further_data(self, evaluation: str) -> str | None:
        """Return the further data set that an evaluation is measured on, None for the target's own data."""
        further = self.plan.also.get(evaluation)
        return None if further is None else further.data

    def labels_on(self, trial: Trial, data: str | None) -> list[str]:
        """Return a trial's evaluations on a further data set, with None those on its target's own test part."""
        return [label for label in trial.evaluations if self.further_data(label) == data]

    def unlearned_reason(self, trial: Trial) -> str | None:
        """Return why a trial's fit did not learn its task, None where it did.

        Only the target's own test part tells: a model that fails on shifted data has still learned.
        """
        ids = [id for label in self.labels_on(trial, None) for id in trial.evaluations[label]]
        reasons = [self.results[id].unlearned_reason for id in ids if id in self.results]
        return next((reason for reason in reasons if reason), None)

    def trial_state(self, trial: Trial) -> TrialStatus:
        """Return the status of a trial."""
        return trial_status(
            trial, done=self.has_record, attempts=self.attempts, sources=self.plan.sources
        )


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause the search for reference cycles: records have none, and each search visits all that were read."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@paused_collection()
def gather_run_data(run: RunRecords, *, keep_checks: bool = False) -> RunData:
    """Read the records of a run, without those that its plan does not name (from an earlier plan).

    Args:
        run: The run.
        keep_checks: Keep the checks of each result, which need more memory than its numbers.

    Raises:
        BadInput: A question of the suite is malformed.
        CacheError: Arrays that a question is about differ from those recorded.
    """
    plan = Plan.from_json(run.plan)
    label_by_result = _label_by_result(plan)
    trial_by_fit = {trial.id: trial for trial in plan.trials}
    labels = sorted({label for trial in plan.trials for label in trial.evaluations})
    options = sorted(requested_options(plan.leaderboard))
    asked = per_image_metrics(plan.leaderboard)
    asked_stems = {label: metric_stems(asked, label) for label in labels}

    data = RunData(
        plan,
        metrics={label: set() for label in labels},
        environments=run.environments,
        files=run.files,
        folder=run.folder,
        subfolders=run.subfolders,
        root=run.root,
    )
    batteries = BatteryIndex(())
    unfolded: dict[str, UnfoldedResult] = {}
    shared_checks: dict[tuple[object, ...], JsonObject] = {}
    shared_options: dict[str, JsonObject] = {}
    weights: dict[str, str] = {}
    for record in run.records:
        id = str(record["id"])
        if record["kind"] == "battery":
            batteries.add(record)
            observed = _as_mapping(record.get("observed"))
            data.battery_seconds.extend(_as_mapping(observed.get("seconds")).values())
        if id in label_by_result:
            label = label_by_result[id]
            _add_record(data, id, record, label=label)
            root = None if run.root is None else run.root / run.subfolders.get(id, "")
            result = read_result(record, stems=asked_stems[label], root=root)
            fields = {name: record[name] for name in FOLDED_FIELDS if name in record}
            fields["asked"] = _with_shared_values(_as_mapping(record["asked"]), shared_options)
            checks: Any = record.get("checks") or ()  # Any: JSON
            # Most are equal to those of other results, and take most of a record's memory.
            fields["checks"] = [
                shared_checks.setdefault(tuple(check.items()), check) for check in checks
            ]
            unfolded[id] = UnfoldedResult(result, fields)
        elif id in trial_by_fit or id in plan.sources:
            _add_record(data, id, record, label=None)
            for option in options:
                swept = swept_option(record, option)
                if swept is not None:
                    data.swept[id, option] = swept
            weights[id] = str(_as_mapping(record.get("weights")).get("digest"))
        if id in trial_by_fit and record.get("leakage"):
            _add_leakage(data, trial_by_fit[id], _as_mapping(record["leakage"]))
        if label_by_result.get(id) in plan.also and record.get("leakage"):
            name = plan.also[label_by_result[id]].data
            own = _as_mapping(record["leakage"])
            named = {f"{name} {pair.removeprefix('also ')}": each for pair, each in own.items()}
            model = str(_as_mapping(_as_mapping(record["asked"]).get("inputs")).get("model"))
            if model in trial_by_fit:
                _add_leakage(data, trial_by_fit[model], named)
    for attempt in run.attempts:
        id = str(attempt["id"])
        if not data.has_record(id):
            data.attempts[id] = Attempt(str(attempt.get("status")), str(attempt["reason"]))
    data.challenges.extend(fold_challenges(run.challenges, batteries, weights=weights))
    folded = fold_results(
        plan.trials, unfolded, batteries, keep_checks=keep_checks, further=plan.also.keys()
    )
    data.results.update(folded.results)
    data.worst.update(folded.worst)
    for label, metrics in data.metrics.items():
        claims = {name for name in metrics if name.startswith(CLAIM_PREFIX)}
        if claims:
            data.derived_metrics[label] = set(map(attack_name, claims))
            if accuracy_weights(metrics):
                data.derived_metrics[label].add(EXPECTED_ROBUSTNESS)
    for (_, worst_label), worst in data.worst.items():
        data.derived_metrics.setdefault(worst_label, set()).update(worst.metrics)
    return data


def _add_leakage(data: RunData, trial: Trial, pairs: JsonObject) -> None:
    """Add the shared images of a fit's data, by pair of parts, to those of its target and row."""
    key = (trial.target, trial.row or "")
    data.leakage[key] = {**data.leakage.get(key, {}), **pairs}


def _label_by_result(plan: Plan) -> dict[str, str]:
    """Return the evaluation label of each result id."""
    labels: dict[str, str] = {}
    for trial in plan.trials:
        for label, ids in trial.evaluations.items():
            labels.update(dict.fromkeys(ids, label))
    return labels


def _with_shared_values(
    asked: JsonObject, shared_options: dict[str, JsonObject]
) -> dict[str, Any]:  # Any: JSON
    """Return what a result's record asks, with one object for equal texts and options of all records.

    Until the batteries of all records are known, these take most of the memory of a large run.
    """
    options = asked["options"]
    # By a text that tells 1 from 1.0 and from true, which are equal as keys.
    shared = shared_options.setdefault(json.dumps(options), options)
    texts = {sys.intern(name): _shared_text(value) for name, value in asked.items()}
    inputs = {sys.intern(name): _shared_text(value) for name, value in asked["inputs"].items()}
    return {**texts, "options": shared, "inputs": inputs}


def _shared_text(value: Any) -> Any:  # noqa: ANN401  # Any: JSON
    return sys.intern(value) if type(value) is str else value


def _as_mapping(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _add_record(data: RunData, id: str, record: JsonObject, *, label: str | None) -> None:
    """Add the values that all kinds of record share; `label` is the evaluation of a result."""
    if label is not None:
        data.metrics[label].update(record["metrics"])
        data.evaluation_uses[label] = (record["asked"]["use"], record["asked"]["options"])
    elif record["kind"] == "source":
        data.source_data[id] = read_source(record)
    else:
        _add_fit(data, id, record)
    observed = record.get("observed", {})
    seconds = observed.get("seconds", {})
    data.seconds[id] = {sys.intern(phase): spent for phase, spent in seconds.items()}
    started = observed.get("started")
    if isinstance(started, int | float) and 0 < started < LATEST_TIME:
        data.started.append(started)
    provenance = record.get("provenance", {})
    environment = _environment_of(
        provenance.get("environment", ""),
        provenance.get("device", ""),
        provenance.get("threads", 0),
        provenance.get("precision", ""),
    )
    data.environment_counts[environment] += 1
    data.environment_by_id[id] = environment


@lru_cache(maxsize=64, typed=True)
def _environment_of(
    environment: str, device: str, threads: int, precision: str
) -> RecordEnvironment:
    """Return an environment as one object for all its records, which are many."""
    return RecordEnvironment(environment, device, threads, precision)


def _add_fit(data: RunData, id: str, record: JsonObject) -> None:
    """Add what a fit's record says of its labels, its training and its held-out images."""
    if labels_used := record.get("facts", {}).get("labels_used"):
        data.labels_used[id] = int(labels_used)
    curves = training_curves(record, requested_curves(data.plan.leaderboard))
    if curves is not None:
        data.curves[id] = curves
    costs = fit_costs(record)
    data.costs[id] = ResultData("", costs, Verdict("unchecked", "of the fit"))
    data.derived_metrics.setdefault(COST_LABEL, set()).update(costs)
    if facts := stated_facts(record):
        data.facts[id] = ResultData("", facts, Verdict("unchecked", "of the fit"))
        data.derived_metrics.setdefault(FIT_LABEL, set()).update(facts)
    if measured := validation_metrics(record):
        metrics = {
            name: Metric(value, value, is_plugin_share=True) for name, value in measured.items()
        }
        data.validation[id] = ResultData("", metrics, Verdict("unchecked", "to choose by"))
        data.derived_metrics.setdefault(VALIDATION_LABEL, set()).update(metrics)
