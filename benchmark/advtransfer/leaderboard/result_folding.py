"""The fold of a run's results with its batteries, trial by trial; those of a large run in two processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from advtransfer.leaderboard.probes import combine_probes
from advtransfer.leaderboard.result_data import Metric, ResultData
from advtransfer.leaderboard.second_process import compute_beside
from advtransfer.planning import Trial
from advtransfer.result.battery_index import BatteryIndex
from advtransfer.result.comparison import JudgedResult, judge_result
from advtransfer.result.evidence import FoldedResult, Probe, unlearned_reason
from advtransfer.result.expected_robustness import expected_robustness
from advtransfer.result.outcomes import SampleOutcomes
from advtransfer.result.verdict import Verdict, verdict_from_checks
from advtransfer.result.worst_case import worst_results
from advtransfer.statistics import accuracy_weights
from advtransfer.types.metric_names import (
    CLAIM_PREFIX,
    EXPECTED_ROBUSTNESS,
    WORST_LABELS,
    attack_name,
)

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object as `advtransfer.result` writes it. Any: fields differ by kind of record."""


class FoldedRun(NamedTuple):
    """The results of a run after the fold.

    Attributes:
        results: By record id.
        worst: The worst over all attacks of a trial, by trial and label of `WORST_LABELS`.
    """

    results: dict[str, ResultData]
    worst: dict[tuple[str, str], ResultData]


class _WorstNumbers(NamedTuple):
    """The worst over all attacks of a trial in one norm, as a page needs it."""

    metrics: Mapping[str, Metric]
    verdict: Verdict
    sample_outcomes: Mapping[str, SampleOutcomes]


class _FoldedTrials(NamedTuple):
    """The results of some trials after the fold.

    Attributes:
        results: By record id.
        worst: By trial, and label of `WORST_LABELS`.
        attacked: Evaluation labels with an attack, by label of `WORST_LABELS`.
    """

    results: dict[str, ResultData]
    worst: dict[str, dict[str, _WorstNumbers]]
    attacked: dict[str, set[str]]


class UnfoldedResult(NamedTuple):
    """A result as it was read, and the fields of its record that a fold reads."""

    read: ResultData
    record: JsonObject


def fold_results(
    trials: Sequence[Trial],
    unfolded: dict[str, UnfoldedResult],
    batteries: BatteryIndex,
    *,
    keep_checks: bool,
    further: Collection[str] = (),
) -> FoldedRun:
    """Fold all results of a run with its batteries, once every record is read.

    Args:
        trials: The trials of the plan.
        unfolded: The results by record id; dropped once they are folded.
        batteries: The batteries and challenges of the run.
        keep_checks: Keep the checks of each result.
        further: Evaluations on further data sets, which are no part of the worst over a trial's attacks.
    """
    fold = partial(_fold_trials, unfolded, batteries, _shared_ids(trials), keep_checks, further)
    first_part = len(trials) // 2
    fold_rest = compute_beside(partial(fold, trials[first_part:]), trials=len(trials))
    parts = [fold(trials[:first_part]), fold_rest()]
    folded = FoldedRun({}, {})
    worst_by_trial: dict[str, dict[str, _WorstNumbers]] = {}
    attacked: dict[str, set[str]] = {label: set() for label in WORST_LABELS.values()}
    for part in parts:
        folded.results.update(part.results)
        worst_by_trial.update(part.worst)
        for worst_label, labels in part.attacked.items():
            attacked[worst_label] |= labels
    for trial in trials:
        for worst_label, worst in worst_by_trial[trial.id].items():
            labels = attacked[worst_label] & trial.evaluations.keys()
            needed = [id for label in labels for id in trial.evaluations[label]]
            # The worst over fewer attacks could not be compared with other trials.
            if all(id in folded.results for id in needed):
                folded.worst[trial.id, worst_label] = ResultData(
                    "",
                    worst.metrics,
                    worst.verdict,
                    test_id=folded.results[needed[0]].test_id,
                    sample_outcomes=worst.sample_outcomes,
                )
    return folded


def _shared_ids(trials: Iterable[Trial]) -> frozenset[str]:
    """Return the ids of results that several trials have."""
    counts = Counter(
        id for trial in trials for ids in trial.evaluations.values() for id in set(ids)
    )
    return frozenset(id for id, count in counts.items() if count > 1)


def _fold_trials(
    unfolded: dict[str, UnfoldedResult],
    batteries: BatteryIndex,
    shared_ids: Collection[str],
    keep_checks: bool,
    further: Collection[str],
    trials: Sequence[Trial],
) -> _FoldedTrials:
    """Return the folded results of some trials, and drop them as they were read.

    Trial by trial, since what a fold keeps for the worst over a trial's attacks takes much memory.
    """
    folded = _FoldedTrials({}, {}, {label: set() for label in WORST_LABELS.values()})
    for trial in trials:
        judged: dict[str, JudgedResult] = {}
        results: list[JudgedResult] = []
        for label, ids in trial.evaluations.items():
            for id in ids:
                if id in unfolded and id not in judged:
                    result = unfolded[id] if id in shared_ids else unfolded.pop(id)
                    judged[id] = judge_result(result.record, batteries)
                    # A result of several trials is folded once for a page.
                    if id not in folded.results:
                        folded.results[id] = _judged_data(
                            result.read, judged[id], keep_checks=keep_checks
                        )
                if id in judged and label not in further:
                    results.append(judged[id])
                    for ball in judged[id].folded.balls.values():
                        if ball.norm in WORST_LABELS:
                            folded.attacked[WORST_LABELS[ball.norm]].add(label)
        folded.worst[trial.id] = {
            worst_label: _WorstNumbers(
                _folded_metrics({}, worst.folded), worst.verdict, worst.folded.outcomes
            )
            for worst_label, worst in worst_results(results, batteries).items()
        }
    return folded


def _judged_data(read: ResultData, judged: JudgedResult, *, keep_checks: bool) -> ResultData:
    """Return a result with the numbers after the fold in place of the recorded ones."""
    record, folded, checks = judged
    # Not by `replace`, which takes many times as long.
    return ResultData(
        read.id,
        _folded_metrics(read.metrics, folded),
        verdict_from_checks(checks),
        test_id=read.test_id,
        reference_id=read.reference_id,
        sample_outcomes=folded.outcomes,
        image_values=read.image_values,
        files=read.files,
        unlearned_reason=unlearned_reason(record),
        largest_class=read.largest_class,
        checks=tuple(checks) if keep_checks else (),
    )


def _folded_metrics(recorded: Mapping[str, Metric], folded: FoldedResult) -> dict[str, Metric]:
    """Return the metrics of a result, whose shares are those after the fold."""
    metrics = dict(recorded)
    for name, metric in recorded.items():
        # A claim without outcomes of samples cannot be folded, and is shown as it was recorded.
        if name.startswith(CLAIM_PREFIX) and name not in folded.outcomes:
            metrics[attack_name(name)] = metric
            metrics[name] = replace(metric, probe=Probe("", 0, metric.sample_count or 0, 0))
    for name, share in folded.shares.items():
        batteries = folded.batteries.get(name, ())
        metrics[name] = Metric(*share, probe=folded.probes.get(name), batteries=batteries)
    area = expected_robustness(folded.outcomes)
    if area is not None:
        names = accuracy_weights(folded.outcomes)
        ids = {id for name in names for id in folded.batteries.get(name, ())}
        metrics[EXPECTED_ROBUSTNESS] = Metric(
            *area,
            probe=combine_probes(map(folded.probes.get, names)),
            is_plugin_share=True,
            batteries=tuple(sorted(ids)),
        )
    return metrics
