"""The numbers of a finished trial, for the console and the hooks of plugins: as a page shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

from advtransfer.planning import Trial
from advtransfer.result import Record, Run
from advtransfer.result.battery_index import BatteryIndex
from advtransfer.result.challenges import fold_challenges, read_challenges
from advtransfer.result.comparison import JudgedResult, judge_result
from advtransfer.result.evidence import FoldedResult
from advtransfer.result.expected_robustness import expected_robustness
from advtransfer.result.worst_case import worst_results
from advtransfer.statistics import accuracy_weights, wilson_interval
from advtransfer.types.metric_names import EXPECTED_ROBUSTNESS


class TrialMetrics(NamedTuple):
    """Metrics as ``evaluation.metric``, and those of them that are upper bounds only.

    `intervals` has the ends of the 95 % Wilson intervals of those that are shares of images.
    """

    values: dict[str, float]
    upper_bounds: list[str]
    intervals: dict[str, list[float]]


def read_trial_metrics(folder: Run, trial: Trial, further: Collection[str] = ()) -> TrialMetrics:
    """Return the metrics of a finished trial, with robust accuracies folded.

    The recorded metrics come first, then what only reading gives: ``attack_accuracy*``, and the
    worst over all attacks, without those of `further`: the evaluations on further data sets.
    """
    records = _trial_records(folder, trial)
    batteries = BatteryIndex(
        folder.find_batteries([record for each in records.values() for record in each])
    )
    fold_challenges(
        read_challenges(folder.path)[0], batteries, weights=_weights_digest(folder, trial)
    )
    results: list[JudgedResult] = []
    values: dict[str, float] = {}
    folded_values: dict[str, float] = {}
    upper_bounds: list[str] = []
    intervals: dict[str, list[float]] = {}
    for label, label_records in records.items():
        for record in label_records:
            recorded = cast("Mapping[str, Mapping[str, Any]]", record["metrics"])
            values |= {f"{label}.{name}": metric["value"] for name, metric in recorded.items()}
            intervals |= {
                f"{label}.{name}": list(metric["interval"])
                for name, metric in recorded.items()
                if "interval" in metric
            }
            judged = judge_result(record, batteries)
            if label not in further:
                results.append(judged)
            folded = judged.folded
            folded_values |= _shares(folded, label)
            intervals |= _share_intervals(folded, label)
            upper_bounds += _upper_bounds(folded, label)
    # The worst over fewer attacks could not be compared with that of other trials.
    all_measured = records.keys() | set(further) >= trial.evaluations.keys()
    for label, worst in worst_results(results if all_measured else [], batteries).items():
        folded_values |= _shares(worst.folded, label)
        intervals |= _share_intervals(worst.folded, label)
        upper_bounds += _upper_bounds(worst.folded, label)
    return TrialMetrics(values | folded_values, upper_bounds, intervals)


def _trial_records(folder: Run, trial: Trial) -> dict[str, list[Record]]:
    """Return the result records of a trial, by evaluation."""
    records: dict[str, list[Record]] = {}
    for label, ids in trial.evaluations.items():
        # An evaluation without all of its records was skipped.
        if all(map(folder.has_record, ids)):
            records[label] = [folder.read_record(id) for id in ids]
    return records


def _weights_digest(folder: Run, trial: Trial) -> dict[str, str]:
    """Return the digest of a trial's weights by the id of its fit."""
    if not folder.has_record(trial.id):
        return {}
    weights = cast("Mapping[str, str]", folder.read_record(trial.id)["weights"])
    return {trial.id: weights["digest"]}


def _shares(folded: FoldedResult, label: str) -> dict[str, float]:
    values = {name: share.low for name, share in folded.shares.items()}
    area = expected_robustness(folded.outcomes)
    if area is not None:
        values[EXPECTED_ROBUSTNESS] = area[0]
    return {f"{label}.{name}": value for name, value in values.items()}


def _share_intervals(folded: FoldedResult, label: str) -> dict[str, list[float]]:
    return {
        f"{label}.{name}": list(wilson_interval(round(share.low * share.of), share.of))
        for name, share in folded.shares.items()
    }


def _upper_bounds(folded: FoldedResult, label: str) -> list[str]:
    """Return the robust accuracies of which not every image was attacked by the host."""
    names = [name for name, probe in folded.probes.items() if not probe.is_complete]
    if any(name in names for name in accuracy_weights(folded.outcomes)):
        names.append(EXPECTED_ROBUSTNESS)
    return [f"{label}.{name}" for name in names]
