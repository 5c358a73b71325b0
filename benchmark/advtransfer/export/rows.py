"""The lines of the exported tables, and the columns that they have.

Every number is that of the page: read from `RunData`, after the fold, never from a raw record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Literal, TypeAlias

from advtransfer.leaderboard.aggregates import aggregate_metrics
from advtransfer.leaderboard.result_data import ImageShares, Metric, ResultData
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import trial_order
from advtransfer.planning import Trial
from advtransfer.planning.status import TrialStatus
from advtransfer.result.evidence import is_snapshot
from advtransfer.types import Outcome
from advtransfer.types.metric_names import (
    CLAIM_PREFIX,
    VALIDATION_LABEL,
    WORST_LABELS,
    attack_name,
    worst_norm,
)

if TYPE_CHECKING:
    from advtransfer.result.outcomes import SampleOutcomes

ExportCell: TypeAlias = str | int | float | None
"""One value of a line; None where there is none."""
ExportRow: TypeAlias = "dict[str, ExportCell]"
"""One line, by column name, in the order of the columns."""


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of an exported table: its name, the type of its values, and their meaning."""

    name: str
    type: Literal["text", "integer", "number"]
    meaning: str


TRIAL_COLUMNS = (
    ExportColumn("suite", "text", "name of the suite"),
    ExportColumn("trial", "text", "id of the trial"),
    ExportColumn("source", "text", "label of the source without its training; empty without one"),
    ExportColumn(
        "replicate", "integer", "which of several trainings of the source; empty for a single one"
    ),
    ExportColumn("adapter", "text", "label of the adapter; empty without one"),
    ExportColumn("target", "text", "label of the target"),
    ExportColumn("n", "text", "number of labelled target images, or `all`"),
    ExportColumn("seed", "integer", "seed of the training subset"),
    ExportColumn("transfer", "text", "label of the transfer"),
)
METRIC_COLUMNS = (
    *TRIAL_COLUMNS,
    ExportColumn(
        "evaluation",
        "text",
        "label of the evaluation; `worst_linf`, `worst_l2` and `worst_l1` are the worst over all "
        "attacks of the trial, `validation` is measured on held-out training images",
    ),
    ExportColumn(
        "metric", "text", "name of the metric; `robust_accuracy*` counts the batteries' breaks"
    ),
    ExportColumn("norm", "text", "norm of the ball that `eps` is the radius of"),
    ExportColumn(
        "eps", "number", "radius of the ball, in [0, 1] pixel space; empty without attack"
    ),
    ExportColumn("epoch", "integer", "epoch of a snapshot; empty for the fitted model"),
    ExportColumn("value", "number", "the metric; outcomes that are unknown count as broken"),
    ExportColumn("low", "number", "equal to `value`: unknown outcomes count as broken"),
    ExportColumn("high", "number", "the metric if unknown outcomes count as robust"),
    ExportColumn(
        "interval_low",
        "number",
        "lower end of the 95 % interval over the test images of this trial alone; empty for "
        "metrics that are no share of test images",
    ),
    ExportColumn("interval_high", "number", "upper end of this interval, of `high`"),
    ExportColumn("of", "integer", "number of test images that the metric is a share of"),
    ExportColumn(
        "verdict", "text", "`checked`, `suspicious`, `invalid` or `unchecked`; empty without value"
    ),
    ExportColumn(
        "reason",
        "text",
        "reason of the verdict, and where the source was a module in memory, that it cannot be rebuilt; "
        "without a value, reason of the status",
    ),
    ExportColumn(
        "unlearned", "text", "why the fit did not learn its task (never ranked); empty where it did"
    ),
    ExportColumn(
        "missed_share",
        "number",
        "share of the images attacked by the battery that it broke and the evaluation did not",
    ),
    ExportColumn(
        "probed",
        "integer",
        "number of images that the battery attacked; below `of`, `value` is an upper bound",
    ),
    ExportColumn(
        "status",
        "text",
        "`done`, or `failed`, `skipped` or `todo` for an evaluation of a trial without value",
    ),
    ExportColumn("fit", "text", "id of the fit's record; empty where there is none"),
    ExportColumn("result", "text", "id of the result's record; empty where there is none"),
    ExportColumn("reference", "text", "id of the reference model that the result compares with"),
    ExportColumn(
        "batteries", "text", "ids of the batteries that `value` counts, separated by spaces"
    ),
    ExportColumn("environment", "text", "digest of the environment of the result's record"),
    ExportColumn("device", "text", "device of the result's record"),
    ExportColumn("threads", "integer", "number of CPU threads of the result's record"),
    ExportColumn("precision", "text", "precision of the result's record"),
    ExportColumn("fit_seconds", "number", "seconds of the fit; of a value that trials share, once"),
    ExportColumn(
        "evaluation_seconds", "number", "seconds of the evaluation, without the host's checks"
    ),
)
OUTCOME_COLUMNS = (
    ExportColumn("trial", "text", "id of the trial, as in the table `metrics`"),
    ExportColumn("evaluation", "text", "label of the evaluation"),
    ExportColumn("result", "text", "id of the result's record; empty for the worst over several"),
    ExportColumn("metric", "text", "name of the metric; `attack_accuracy*` is a column here"),
    ExportColumn("image", "integer", "index of the image in the evaluation's test part, from 0"),
    ExportColumn(
        "outcome",
        "text",
        "`robust`, `broken`, `unknown`, or `wrong` without attack, with the batteries' breaks",
    ),
    ExportColumn(
        "attack_outcome",
        "text",
        "the same by the evaluation's own attack alone; empty for the worst over several attacks",
    ),
)
EXPORT_TABLES: Mapping[str, Sequence[ExportColumn]] = {
    "metrics": METRIC_COLUMNS,
    "outcomes": OUTCOME_COLUMNS,
}


def metric_rows(data: RunData) -> Iterator[ExportRow]:
    """Yield a line for each trial and metric, and one for each result that is missing.

    Nothing is dropped: failed, skipped and unfinished evaluations have a line with their status,
    their reason and no value. Lines are ordered as the tables of the page are, then by evaluation.
    """
    for trial in sorted(data.plan.trials, key=trial_order):
        state = data.trial_state(trial)
        for label in _shown_labels(trial, data):
            ids = trial.evaluations.get(label, ("",))
            for id, result in zip(ids, data.trial_results(trial, label), strict=True):
                if result is None or not result.metrics:
                    yield _missing_row(trial, label, state, data, id=id)
                    continue
                for name in sorted(result.metrics):
                    yield _metric_row(trial, label, name, result, data)
        if not trial.evaluations:
            yield _missing_row(trial, None, state, data)


def outcome_rows(data: RunData) -> Iterator[ExportRow]:
    """Yield a line for each test image of each metric that is a share of test images."""
    for trial in sorted(data.plan.trials, key=trial_order):
        for label in _shown_labels(trial, data):
            for result in data.trial_results(trial, label):
                if result is not None:
                    yield from _result_outcome_rows(trial, label, result)


def table_rows(table: str, data: RunData) -> Iterator[ExportRow]:
    """Return the lines of a table of `EXPORT_TABLES`."""
    return metric_rows(data) if table == "metrics" else outcome_rows(data)


def _shown_labels(trial: Trial, data: RunData) -> list[str]:
    """Return the evaluations of a trial, then those that only reading gives and it has."""
    derived = [label for label in WORST_LABELS.values() if (trial.id, label) in data.worst]
    if trial.id in data.validation:
        derived.append(VALIDATION_LABEL)
    return [*sorted(trial.evaluations), *derived]


def _metric_row(
    trial: Trial, label: str, name: str, result: ResultData, data: RunData
) -> ExportRow:
    metric = result.metrics[name]
    verdict = result.metric_verdict(name)
    ends = _interval_ends(result.sample_outcomes.get(name)) or (None, None)
    probe = metric.probe
    return {
        **_trial_cells(trial, data),
        "evaluation": label,
        "metric": name,
        **_ball_cells(label, name, result, data),
        "value": _finite(metric.low),
        "low": _finite(metric.low),
        "high": _finite(metric.high),
        "interval_low": ends[0],
        "interval_high": ends[1],
        "of": metric.sample_count,
        "verdict": verdict.value,
        "reason": "; ".join(filter(None, (verdict.reason, data.in_memory_note(trial)))) or None,
        "unlearned": data.unlearned_reason(trial),
        "missed_share": None if probe is None else probe.missed_share,
        "probed": None if probe is None else probe.count,
        "status": "done",
        **_record_cells(trial, result.id, data),
        "reference": result.reference_id or None,
        "batteries": " ".join(metric.batteries) or None,
        **_environment_cells(trial, label, result.id, data),
    }


def _missing_row(
    trial: Trial, label: str | None, state: TrialStatus, data: RunData, *, id: str = ""
) -> ExportRow:
    """Return the line of an evaluation without a number: its status and reason."""
    row: ExportRow = dict.fromkeys(column.name for column in METRIC_COLUMNS)
    status, reason = _missing_status(label, state, has_record=bool(id) and data.has_record(id))
    return row | {
        **_trial_cells(trial, data),
        "evaluation": label,
        "unlearned": data.unlearned_reason(trial),
        "status": status,
        "reason": reason,
        **_record_cells(trial, id, data),
    }


def _missing_status(
    label: str | None, state: TrialStatus, *, has_record: bool
) -> tuple[str, str | None]:
    """Return the status of one evaluation of a trial, and its reason.

    A build or a fit that failed or was skipped settles all evaluations; an evaluation that failed
    leaves the others to be tried.
    """
    if has_record:  # an evaluation that measures no metric
        return "done", None
    if label is None:
        return state.value, state.reason
    if label in state.skipped:
        return "skipped", state.skipped[label]
    if label in state.failures and state.evaluation is not None:
        return "failed", state.failures[label]
    if state.value in ("failed", "skipped") and state.evaluation is None:
        return state.value, state.reason
    return "todo", None


def _trial_cells(trial: Trial, data: RunData) -> ExportRow:
    return {
        "suite": data.plan.suite,
        "trial": trial.id,
        "source": trial.row,
        "replicate": trial.replicate,
        "adapter": trial.adapter,
        "target": trial.target,
        "n": str(trial.n),
        "seed": trial.seed,
        "transfer": trial.transfer,
    }


def _record_cells(trial: Trial, id: str, data: RunData) -> ExportRow:
    return {
        "fit": trial.id if data.has_record(trial.id) else None,
        "result": id if id and data.has_record(id) else None,
    }


def _environment_cells(trial: Trial, label: str, id: str, data: RunData) -> ExportRow:
    """Return where a result was measured; for validation, where its fit was made."""
    measured = data.environment_by_id.get(trial.id if label == VALIDATION_LABEL else id)
    seconds = data.seconds.get(id, {})
    return {
        "environment": measured.environment or None if measured else None,
        "device": measured.device or None if measured else None,
        "threads": measured.threads or None if measured else None,
        "precision": measured.precision or None if measured else None,
        "fit_seconds": data.seconds.get(trial.id, {}).get("fit"),
        "evaluation_seconds": seconds.get("measure"),
    }


def _ball_cells(label: str, name: str, result: ResultData, data: RunData) -> ExportRow:
    """Return norm, eps and epoch of a metric: by its name, else by the evaluation's options."""
    base, epoch = name, None
    if is_snapshot(name, result.metrics):
        base, _, stated = name.rpartition("@")
        epoch = int(stated)
    _, options = data.evaluation_uses.get(label, ("", {}))
    norm = worst_norm(label) or options.get("norm")
    is_attacked = "eps" in options or worst_norm(label) is not None
    # Other numbers may follow an @ too, such as the rank of `class_match@5`.
    eps = _number(base.partition("@")[2]) if is_attacked else None
    if eps is None and result.metrics[name].probe is not None:
        eps = _number(options.get("eps"))
    return {
        "norm": norm if eps is not None and isinstance(norm, str) else None,
        "eps": eps,
        "epoch": epoch,
    }


def _number(value: object) -> float | None:
    """Return a number of a text or an option, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return _finite(float(value))
    except ValueError:
        return None


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _interval_ends(outcomes: SampleOutcomes | None) -> tuple[float, float] | None:
    """Return the interval of a share over its test images, None without outcomes."""
    if outcomes is None or not outcomes.of:
        return None
    robust, unknown = outcomes.robust.bit_count(), outcomes.unknown.bit_count()
    return _share_ends(robust, unknown, outcomes.of)


@lru_cache(maxsize=65_536)
def _share_ends(robust: int, unknown: int, of: int) -> tuple[float, float] | None:
    """Return the interval that the page shows for a row of one trial with these counts."""
    import numpy as np

    # The interval depends on the number of images with each outcome, not on which these are.
    positions = np.arange(of)
    images = ImageShares(
        (positions < robust).astype(float), (positions < robust + unknown).astype(float)
    )
    low, high = robust / of, (robust + unknown) / of
    return aggregate_metrics({(None, 0): Metric(low, high, of, images=images)}).interval


def _result_outcome_rows(trial: Trial, label: str, result: ResultData) -> Iterator[ExportRow]:
    words = {int(outcome): outcome.name.lower() for outcome in Outcome}
    attack_names = {attack_name(name) for name in result.sample_outcomes if _is_claim(name)}
    for name, outcomes in sorted(result.sample_outcomes.items()):
        if name in attack_names:  # a column of the metric that it belongs to
            continue
        alone = result.sample_outcomes.get(attack_name(name)) if _is_claim(name) else outcomes
        attack: list[int | None] = [None] * outcomes.of
        if alone is not None:
            attack = alone.to_array().tolist()
        for image, outcome in enumerate(outcomes.to_array().tolist()):
            own = attack[image]
            yield {
                "trial": trial.id,
                "evaluation": label,
                "result": result.id or None,
                "metric": name,
                "image": image,
                "outcome": words[outcome],
                "attack_outcome": None if own is None else words[own],
            }


def _is_claim(metric: str) -> bool:
    return metric.startswith(CLAIM_PREFIX)
