"""The columns and rows of a leaderboard.

A column is a metric, found by its name in the suite. A row groups trials that differ only in their
seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import fsum
from operator import add
from typing import NamedTuple, TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.probes import combine_probes
from advtransfer.leaderboard.questions_config import owning_evaluation
from advtransfer.leaderboard.result_data import ImageShares, Metric, ResultData
from advtransfer.leaderboard.run_data import RunData
from advtransfer.planning import Trial
from advtransfer.result.expected_robustness import weighted_samples
from advtransfer.result.outcomes import SampleOutcomes, sample_indicator
from advtransfer.types.metric_names import EXPECTED_ROBUSTNESS, RESERVED_LABELS


@dataclass(frozen=True, slots=True)
class Column:
    """A metric of an evaluation.

    Attributes:
        name: Name as the suite writes it.
        evaluation: Label of the evaluation.
        metric: Name as the records write it, None while no record of the evaluation exists.
    """

    name: str
    evaluation: str
    metric: str | None

    @property
    def key(self) -> str:
        """Name as the records write it, equal for all ways to write the column."""
        return f"{self.evaluation}.{self.metric}" if self.metric else self.name

    def metric_of(self, trial: Trial, data: RunData, *, with_images: bool = False) -> Metric | None:
        """Return the metric, averaged over references; None while results are missing.

        Args:
            trial: The trial.
            data: The run.
            with_images: With its values by test image, where the records have them.
        """
        results = self.results_of(trial, data)
        if not results:
            return None
        name = self.metric or ""
        images = _mean_images(results, name) if with_images else None
        metrics = [result.metrics[name] for result in results]
        if len(metrics) == 1:
            return metrics[0] if images is None else metrics[0].with_images(images)
        return Metric(
            _mean_value([metric.low for metric in metrics]),
            _mean_value([metric.high for metric in metrics]),
            probe=combine_probes(metric.probe for metric in metrics),
            is_plugin_share=all(metric.is_share for metric in metrics),
            images=images,
        )

    def results_of(self, trial: Trial, data: RunData) -> list[ResultData]:
        """Return the results with the metric, one per reference; none while any is missing."""
        results: list[ResultData] = []
        for result in data.trial_results(trial, self.evaluation):
            if result is None or self.metric not in result.metrics:
                # A mean over fewer references could not be compared with other trials.
                return []
            results.append(result)
        return results


def _mean_images(results: Sequence[ResultData], metric: str) -> ImageShares | None:
    """Return a share by test image, averaged over references; None without outcomes of samples."""
    if metric == EXPECTED_ROBUSTNESS:
        return _mean_area(results)
    outcomes = [result.sample_outcomes.get(metric) for result in results]
    known = [values for values in outcomes if values is not None]
    if not known or len(known) < len(outcomes) or len({values.of for values in known}) > 1:
        return None
    if len(known) == 1:
        return _image_shares(known[0])
    return _mean_shares([_image_shares(values) for values in known])


def _mean_shares(shares: Sequence[ImageShares]) -> ImageShares:
    low = reduce(add, [each.low for each in shares]) / len(shares)
    if all(each.is_known for each in shares):
        return ImageShares(low, low)
    return ImageShares(low, reduce(add, [each.high for each in shares]) / len(shares))


def _mean_area(results: Sequence[ResultData]) -> ImageShares | None:
    """Return the expected robustness by test image, averaged over references."""
    areas: list[ImageShares] = []
    for result in results:
        parts = list(weighted_samples(result.sample_outcomes))
        if not parts:
            return None
        low = reduce(add, [part.weight * sample_indicator(part.low, part.of) for part in parts])
        high = low
        if any(part.low != part.high for part in parts):
            high = reduce(
                add, [part.weight * sample_indicator(part.high, part.of) for part in parts]
            )
        areas.append(ImageShares(low, high))
    sizes = {len(area.low) for area in areas}
    return _mean_shares(areas) if len(sizes) == 1 else None


def _image_shares(outcomes: SampleOutcomes) -> ImageShares:
    """Return the share of one result by test image: 1 where it is robust."""
    low = sample_indicator(outcomes.robust, outcomes.of)
    if not outcomes.unknown:
        return ImageShares(low, low)
    return ImageShares(low, sample_indicator(outcomes.robust | outcomes.unknown, outcomes.of))


def columns_of(data: RunData) -> list[Column]:
    """Return the columns that the suite requests, or a column for every recorded metric.

    In the second case, an evaluation without any metric has one empty column to show that it was
    requested.
    """
    requested = data.plan.leaderboard.get("columns")
    if isinstance(requested, list | tuple) and requested:
        return [find_column(str(name), data) for name in requested]
    columns: list[Column] = []
    for label, metrics in data.metrics.items():
        if metrics:
            columns += [Column(f"{label}.{name}", label, name) for name in sorted(metrics)]
        else:
            columns.append(Column(label, label, None))
    return columns


def find_column(name: str, data: RunData) -> Column:
    """Return the column with a name such as ``pgd.robust_accuracy@8/255``.

    Raises:
        BadInput: No evaluation has this name, or none or several of its metrics match.
    """
    evaluation = owning_evaluation(name, [*data.metrics, *RESERVED_LABELS])
    if evaluation is None:
        choices = ", ".join(data.metrics) or "none"
        raise _column_error(name, f"evaluation.metric, with an evaluation of {choices}")
    named = (data.metrics.get(evaluation, set()), data.derived_metrics.get(evaluation, set()))
    recorded = sorted(set().union(*named))
    parts = _metric_parts(name.removeprefix(f"{evaluation}."))
    matches = [metric for metric in recorded if _metric_parts(metric) == parts]
    if not matches:
        longer = [metric for metric in recorded if _metric_parts(metric)[: len(parts)] == parts]
        matches = _least_specific(longer)
    if not recorded:
        return Column(name, evaluation, None)
    if len(matches) == 1:
        return Column(name, evaluation, matches[0])
    choices = ", ".join(f"{evaluation}.{metric}" for metric in matches or recorded)
    raise _column_error(name, f"one of {choices}")


def _least_specific(metrics: list[str]) -> list[str]:
    """Return the metrics with the fewest parts: ``metric``, not its snapshots ``metric@epoch``."""
    part_counts = {metric: len(_metric_parts(metric)) for metric in metrics}
    fewest = min(part_counts.values(), default=0)
    return [metric for metric in metrics if part_counts[metric] == fewest]


def _metric_parts(metric: str) -> list[str]:
    """Split ``robust_accuracy@8/255`` into ``["robust_accuracy", "0.0313725"]``, as in records."""
    name, *values = metric.split("@")
    return [name, *map(_normalize_number, values)]


def _normalize_number(text: str) -> str:
    # Records hold eps as `:g` writes it; a suite may say 8/255 or 1e-1.
    try:
        return f"{float(Fraction(text)):g}"
    except (ValueError, ZeroDivisionError):
        return text


def _mean_value(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _column_error(name: str, expected: str) -> BadInput:
    found = f"leaderboard column {name!r}"
    return BadInput([Problem(found, expected, "correct it in the suite and run it again")])


TrialKey: TypeAlias = "tuple[int | None, int]"
"""A trial within its row: the source's replicate (None without replicates) and the subset seed."""
TablePlace: TypeAlias = "tuple[str, int | str]"
"""The target and n of a table."""
RowsByTable: TypeAlias = "dict[TablePlace, list[LeaderboardRow]]"
"""The rows of each table, ordered by target and n."""


@dataclass(frozen=True, slots=True, eq=False)
class LeaderboardRow:
    """One source (with all its replicates), adapter and transfer at one target and n.

    Rows are compared by identity, so that they are cheap dictionary keys.
    """

    source: str | None
    adapter: str | None
    transfer: str
    trials: tuple[Trial, ...]

    @property
    def sort_key(self) -> tuple[str, str, str]:
        """Names by which rows are sorted where no ranking orders them."""
        return (self.source or "", self.adapter or "", self.transfer)

    @property
    def label(self) -> str:
        """Name of the row without its transfer: ``natural via crop``."""
        source = self.source or "no source"
        return f"{source} via {self.adapter}" if self.adapter else source

    @property
    def submission(self) -> str:
        """Names of the submissions that measured it, where the page has several."""
        names = {trial.submission for trial in self.trials if trial.submission}
        return ", ".join(sorted(names))

    def is_deterministic(self, data: RunData) -> bool:
        """Return whether all seeds fit the same images with a transfer that draws no random number."""
        return self.transfer in data.plan.deterministic and self.trials[0].n == "all"

    def metric_values(self, column: Column, data: RunData) -> dict[TrialKey, Metric]:
        """Return the column's metric for each trial that has it, with its values by test image."""
        values: dict[TrialKey, Metric] = {}
        for trial in self.trials:
            metric = column.metric_of(trial, data, with_images=True)
            if metric is not None:
                values[trial.replicate, trial.seed] = metric
        return values

    def is_skipped(self, column: Column, data: RunData) -> bool:
        """Return whether the column's evaluation is not applicable in every trial that plans it."""
        trials = [trial for trial in self.trials if column.evaluation in trial.evaluations]
        if not trials:
            return False
        return all(column.evaluation in data.trial_state(trial).skipped for trial in trials)


def group_rows(data: RunData) -> RowsByTable:
    """Return the rows of each target and n, without rows that are not applicable for any seed."""
    grouped: dict[TablePlace, dict[tuple[str | None, str | None, str], list[Trial]]] = {}
    for trial in sorted(data.plan.trials, key=trial_order):
        rows = grouped.setdefault((trial.target, trial.n), {})
        rows.setdefault((trial.row, trial.adapter, trial.transfer), []).append(trial)
    tables: RowsByTable = {}
    for place, rows in grouped.items():
        for name, trials in rows.items():
            if not all(data.trial_state(trial).not_applicable for trial in trials):
                row = LeaderboardRow(*name, tuple(trials))
                tables.setdefault(place, []).append(row)
    return tables


def trial_order(trial: Trial) -> tuple[str, bool, int, str, str, str, int, int]:
    """Return a sort key: target, n (``all`` after every count), row, replicate and seed."""
    is_all = trial.n == "all"
    n = 0 if trial.n == "all" else trial.n
    source = trial.row or ""
    adapter = trial.adapter or ""
    replicate = trial.replicate or 0
    return (trial.target, is_all, n, source, adapter, trial.transfer, replicate, trial.seed)


class TrialSeconds(NamedTuple):
    """Seconds of a trial: of its fit, and of its evaluations without the host's own checks."""

    fit: float
    evaluations: float


def mean_seconds(row: LeaderboardRow, data: RunData) -> TrialSeconds | None:
    """Return the mean seconds of a finished trial's phases, None if not timed."""
    fits: list[float] = []
    evaluations: list[float] = []
    for trial in row.trials:
        if data.trial_state(trial).value == "done":
            results = [id for id in trial.record_ids()[1:] if data.has_record(id)]
            fits.append(data.seconds[trial.id].get("fit", 0.0))
            # fsum does not depend on the order of the results.
            evaluations.append(fsum(data.seconds[id].get("measure", 0.0) for id in results))
    if not any((*fits, *evaluations)):
        return None
    return TrialSeconds(fsum(fits) / len(fits), fsum(evaluations) / len(evaluations))
