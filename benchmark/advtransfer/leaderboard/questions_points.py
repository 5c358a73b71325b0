"""Data points of a question.

One pair of predictor and outcome for each label on the question's axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.leaderboard.questions_config import Question, axis_labels
from advtransfer.leaderboard.run_data import ResultData, RunData
from advtransfer.leaderboard.table_rows import Column, trial_order
from advtransfer.planning import Trial
from advtransfer.planning.status import STATUS_WORDS
from advtransfer.suite.leaderboard_settings import QUESTION_AXES

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

QuestionScope: TypeAlias = "tuple[tuple[str, str | int | None], ...]"
"""What is held fixed: each axis but the question's and the seeds, with its label."""
ResultGroup: TypeAlias = "tuple[ResultData, ...]"
"""The results that a value is the mean of."""


@dataclass(frozen=True, slots=True)
class QuestionPoint:
    """One label: by reference, the results behind each side; `planned` trials, of which `trials` have both sides."""

    label: str
    predictor: tuple[ResultGroup, ...]
    outcome: tuple[ResultGroup, ...]
    trial_count: int
    planned_count: int


@dataclass(frozen=True, slots=True)
class QuestionPoints:
    """The points of one predictor at one place, by label, and why other labels have none."""

    predictor: Column
    outcome: Column
    points: tuple[QuestionPoint, ...]
    missing: Mapping[str, str]

    @property
    def reference_count(self) -> int:
        """How many reference models there are; within each, points are compared."""
        return max((len(point.predictor) for point in self.points), default=1)

    @property
    def pools_references(self) -> bool:
        """Whether values of different reference models are compared."""
        sides = (
            [point.predictor for point in self.points],
            [point.outcome for point in self.points],
        )
        rows = [row for side in sides for row in zip(*side, strict=True)]
        return any(
            len({answer.reference for sampled in row for answer in sampled}) > 1 for row in rows
        )

    @property
    def value_arrays(self) -> tuple[FloatArray, FloatArray]:
        """Predictor and outcome, ``(R, S)`` each."""
        import numpy as np

        predictor = [
            [mean_metric(one, self.predictor) for one in point.predictor] for point in self.points
        ]
        outcome = [
            [mean_metric(one, self.outcome) for one in point.outcome] for point in self.points
        ]
        return np.array(predictor).T, np.array(outcome).T


def trials_by_scope(
    question: Question, evidence: RunData
) -> dict[QuestionScope, dict[str, list[Trial]]]:
    """The trials that a question is about, by place and by label on its axis; those without a label are left out."""
    trials = [
        trial
        for trial in sorted(evidence.plan.trials, key=trial_order)
        if question.selects_trial(trial)
    ]
    free = {question.across, "seed"} | ({"adapter"} if _adapter_follows_source(trials) else set())
    found: dict[QuestionScope, dict[str, list[Trial]]] = {}
    for trial in trials:
        at = axis_labels(trial) | {"source": trial.row}
        label = at[question.across]
        if label is not None:
            fixed = tuple((axis, at[axis]) for axis in QUESTION_AXES if axis not in free)
            found.setdefault(fixed, {}).setdefault(str(label), []).append(trial)
    return found


def _adapter_follows_source(trials: Iterable[Trial]) -> bool:
    """Whether each source reaches a target through one adapter: then it belongs to the source, and sets none apart."""
    pairs = {(trial.target, trial.row, trial.adapter) for trial in trials}
    return len(pairs) == len({(target, row) for target, row, _ in pairs})


def collect_points(
    question: Question,
    labelled: Mapping[str, Sequence[Trial]],
    *,
    predictor: Column,
    outcome: Column,
    evidence: RunData,
) -> QuestionPoints:
    """The points of one predictor at one place."""
    points, missing = [], {}
    for label, trials in sorted(labelled.items()):
        both = [
            (predictor.results_of(one, evidence), outcome.results_of(one, evidence))
            for one in trials
        ]
        told = [(left, right) for left, right in both if left and right]
        believed = [
            pair
            for pair in told
            if all(answer.verdict.is_ranked for side in pair for answer in side)
        ]
        if believed:
            points.append(
                _make_point(
                    label, believed, planned=len(trials), within=question.across != "target"
                )
            )
        else:
            missing[label] = (
                "not believed" if told else _missing_reason(trials, (predictor, outcome), evidence)
            )
    return QuestionPoints(predictor, outcome, tuple(points), missing)


def mean_metric(sampled: Iterable[ResultData], column: Column) -> float:
    """The mean of a metric over results; unknown outcomes count as broken."""
    values = [answer.metrics[column.metric or ""].low for answer in sampled]
    return fsum(values) / len(values)


def _make_point(
    label: str,
    pairs: Sequence[tuple[Sequence[ResultData], Sequence[ResultData]]],
    *,
    planned: int,
    within: bool,
) -> QuestionPoint:
    """The results by reference; a side with fewer results than the other is taken over all of its own in each."""
    references = max(len(side) for pair in pairs for side in pair) if within else 1

    def side(which: int) -> tuple[ResultGroup, ...]:
        if all(len(pair[which]) == references for pair in pairs):
            return tuple(tuple(pair[which][k] for pair in pairs) for k in range(references))
        return (tuple(answer for pair in pairs for answer in pair[which]),) * references

    return QuestionPoint(label, side(0), side(1), len(pairs), planned)


def _missing_reason(trials: Sequence[Trial], columns: Iterable[Column], evidence: RunData) -> str:
    """Why a label has no point: how its trials, or the results in question, stand, or that these lack the number."""
    states = [evidence.trial_state(trial) for trial in trials]
    standing = {state.value for state in states} - {"done"}
    if any(column.evaluation in state.skipped for state in states for column in columns):
        standing.add("skipped")
    return ", ".join(STATUS_WORDS[one] for one in sorted(standing)) or "no number"
