"""The columns and rows of a leaderboard.

Metrics found by their name in the suite, and trials that differ only in their seeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.run_data import Metric, ResultData, RunData
from advtransfer.planning import Trial


@dataclass(frozen=True, slots=True)
class Column:
    """A metric of an evaluation; `name` is as the suite wrote it, `metric` as the records do (None: none is there)."""

    name: str
    evaluation: str
    metric: str | None

    def metric_of(self, trial: Trial, evidence: RunData) -> Metric | None:
        """The metric in one trial, averaged over its references; None until all of its results are there."""
        metrics = [answer.metrics[self.metric or ""] for answer in self.results_of(trial, evidence)]
        if len(metrics) < 2:
            return metrics[0] if metrics else None
        return Metric(
            _mean_value(one.low for one in metrics), _mean_value(one.high for one in metrics)
        )

    def results_of(self, trial: Trial, evidence: RunData) -> list[ResultData]:
        """The results that hold the metric in one trial, one a reference; none until all of them are there."""
        ids = trial.evaluations.get(self.evaluation, ())
        found = [evidence.results[id] for id in ids if id in evidence.results]
        holding = [answer for answer in found if self.metric in answer.metrics]
        return holding if len(holding) == len(ids) else []


def columns_of(evidence: RunData) -> list[Column]:
    """The columns that the suite asks for; every metric there is when it asks for none.

    An evaluation without any metric then has one column, so that a reader sees it was asked for.
    """
    asked = evidence.plan.leaderboard.get("columns")
    if isinstance(asked, list | tuple) and asked:
        return [find_column(str(name), evidence) for name in asked]
    return [
        column
        for label, there in evidence.metrics.items()
        for column in [Column(f"{label}.{name}", label, name) for name in sorted(there)]
        or [Column(label, label, None)]
    ]


def find_column(name: str, evidence: RunData) -> Column:
    """The column of this name.

    Raises:
        BadInput: No evaluation has this name, or its metrics hold none or several that fit.
    """
    fitting = [label for label in evidence.metrics if name.startswith(f"{label}.")]
    if not fitting:
        raise _column_error(
            name,
            f"evaluation.metric, with an evaluation of {', '.join(evidence.metrics) or 'none'}",
        )
    evaluation = max(fitting, key=len)
    there = sorted(evidence.metrics[evaluation])
    asked = _metric_parts(name.removeprefix(f"{evaluation}."))
    found = [metric for metric in there if _metric_parts(metric) == asked]
    found = found or _least_specific(
        [metric for metric in there if _metric_parts(metric)[: len(asked)] == asked]
    )
    if len(found) == 1 or not there:
        return Column(name, evaluation, found[0] if found else None)
    raise _column_error(
        name, f"one of {', '.join(f'{evaluation}.{metric}' for metric in found or there)}"
    )


def _least_specific(metrics: list[str]) -> list[str]:
    """Those that say no more than they must: of a metric and its snapshots ``metric@epoch``, the metric."""
    least = min((len(_metric_parts(metric)) for metric in metrics), default=0)
    return [metric for metric in metrics if len(_metric_parts(metric)) == least]


def _metric_parts(metric: str) -> list[str]:
    """``robust_accuracy@8/255`` as ``["robust_accuracy", "0.0313725"]``: numbers as the records write them."""
    name, *values = metric.split("@")
    return [name, *map(_normalize_number, values)]


def _normalize_number(text: str) -> str:
    try:
        return f"{float(Fraction(text)):g}"
    except (ValueError, ZeroDivisionError):
        return text


def _mean_value(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def _column_error(name: str, expected: str) -> BadInput:
    return BadInput(
        [
            Problem(
                f"leaderboard column {name!r}", expected, "correct it in the suite and run it again"
            )
        ]
    )


TrialKey: TypeAlias = "tuple[int | None, int]"
"""A trial within its row: the source's replicate (None without replicates) and the subset seed."""
TablePlace: TypeAlias = "tuple[str, int | str]"
"""A table: a target and n."""


@dataclass(frozen=True, slots=True, eq=False)
class LeaderboardRow:
    """One source (with all its replicates), adapter and transfer at one target and n; compared by identity."""

    source: str | None
    adapter: str | None
    transfer: str
    trials: tuple[Trial, ...]

    @property
    def sort_key(self) -> tuple[str, str, str]:
        """What rows are sorted by where nothing ranks them."""
        return (self.source or "", self.adapter or "", self.transfer)

    @property
    def label(self) -> str:
        """The row in words, without its transfer."""
        return (self.source or "no source") + (f" via {self.adapter}" if self.adapter else "")

    def metric_values(self, column: Column, evidence: RunData) -> dict[TrialKey, Metric]:
        """One metric of every trial that has it."""
        found = {
            (trial.replicate, trial.seed): column.metric_of(trial, evidence)
            for trial in self.trials
        }
        return {key: metric for key, metric in found.items() if metric is not None}

    def is_skipped(self, column: Column, evidence: RunData) -> bool:
        """Whether the column's evaluation makes no sense in any trial that asks for it."""
        asking = [trial for trial in self.trials if column.evaluation in trial.evaluations]
        return bool(asking) and all(
            column.evaluation in evidence.trial_state(trial).skipped for trial in asking
        )


def group_rows(evidence: RunData) -> dict[TablePlace, list[LeaderboardRow]]:
    """The rows of each target and n; a row that makes no sense there, with any of its seeds, is left out."""
    grouped: dict[TablePlace, dict[tuple[str | None, str | None, str], list[Trial]]] = {}
    for trial in sorted(evidence.plan.trials, key=trial_order):
        rows = grouped.setdefault((trial.target, trial.n), {})
        rows.setdefault((trial.row, trial.adapter, trial.transfer), []).append(trial)
    found = {
        place: [
            LeaderboardRow(*name, tuple(trials))
            for name, trials in rows.items()
            if not all(evidence.trial_state(one).not_applicable for one in trials)
        ]
        for place, rows in grouped.items()
    }
    return {place: rows for place, rows in found.items() if rows}


def _sensible(trials: list[Trial], evidence: RunData) -> bool:
    return not all(evidence.trial_state(trial).not_applicable for trial in trials)


def trial_order(trial: Trial) -> tuple[str, bool, int, str, str, str, int, int]:
    """By place, `all` after every count."""
    everything = trial.n == "all"
    n = 0 if trial.n == "all" else trial.n
    names = (trial.row or "", trial.adapter or "", trial.transfer)
    return (trial.target, everything, n, *names, trial.replicate or 0, trial.seed)
