"""Data points of a question: a pair of predictor and outcome for each label on its axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.leaderboard.questions_config import Question, axis_labels
from advtransfer.leaderboard.result_data import ResultData
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import Column, trial_order
from advtransfer.planning import Plan, Trial
from advtransfer.planning.status import STATUS_WORDS, StatusName
from advtransfer.suite.leaderboard_settings import QUESTION_AXES

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

QuestionScope: TypeAlias = "tuple[tuple[str, str | int | None], ...]"
"""The fixed axes (all but the question's and the seeds) with their labels."""
ResultGroup: TypeAlias = "tuple[ResultData, ...]"
"""The results whose mean is one value."""
ResultPair: TypeAlias = "tuple[Sequence[ResultData], Sequence[ResultData]]"
"""The predictor's and the outcome's results of one trial, each with one result per reference."""


@dataclass(frozen=True, slots=True)
class QuestionPoint:
    """The values of one label.

    Attributes:
        label: Label on the question's axis.
        predictor: Results behind the predictor, by reference.
        outcome: Results behind the outcome, by reference.
        trial_count: Trials that have both sides.
        planned_count: Trials that are planned.
        unlearned_count: Trials whose fit did not learn its task.
    """

    label: str
    predictor: tuple[ResultGroup, ...]
    outcome: tuple[ResultGroup, ...]
    trial_count: int
    planned_count: int
    unlearned_count: int = 0


@dataclass(frozen=True, slots=True)
class QuestionPoints:
    """The points of one predictor in one scope, sorted by label.

    `missing` holds the reason for each label without a point.
    """

    predictor: Column
    outcome: Column
    points: tuple[QuestionPoint, ...]
    missing: Mapping[str, str]

    @property
    def reference_count(self) -> int:
        """Number of reference models; points are compared within each of them."""
        return max((len(point.predictor) for point in self.points), default=1)

    @property
    def pools_references(self) -> bool:
        """Whether values of different reference models are compared with each other."""
        predictors = [point.predictor for point in self.points]
        outcomes = [point.outcome for point in self.points]
        return _mixes_references(predictors) or _mixes_references(outcomes)

    @property
    def value_arrays(self) -> tuple[FloatArray, FloatArray]:
        """Predictor and outcome, each ``(R, S)`` for R references and S points."""
        import numpy as np

        predictor = []
        outcome = []
        for point in self.points:
            predictor.append([mean_metric(group, self.predictor) for group in point.predictor])
            outcome.append([mean_metric(group, self.outcome) for group in point.outcome])
        return np.array(predictor).T, np.array(outcome).T


def _mixes_references(side: Sequence[Sequence[ResultGroup]]) -> bool:
    """Return whether values that are compared (one group per point) have several references."""
    for compared in zip(*side, strict=True):
        references = {result.reference_id for group in compared for result in group}
        if len(references) > 1:
            return True
    return False


def trials_by_scope(question: Question, plan: Plan) -> dict[QuestionScope, dict[str, list[Trial]]]:
    """Return the selected trials by scope and by label on the question's axis.

    Trials without a label on this axis (such as those without a source) are left out.
    """
    ordered = sorted(plan.trials, key=trial_order)
    selected = [trial for trial in ordered if question.selects_trial(trial)]
    free_axes = {question.across, "seed"}
    if _adapter_follows_source(selected):
        free_axes.add("adapter")
    fixed_axes = [axis for axis in QUESTION_AXES if axis not in free_axes]

    scopes: dict[QuestionScope, dict[str, list[Trial]]] = {}
    for trial in selected:
        # The row leaves out the replicate: replicates of a source are averaged to one point.
        labels = axis_labels(trial) | {"source": trial.row}
        label = labels[question.across]
        if label is not None:
            scope = tuple((axis, labels[axis]) for axis in fixed_axes)
            scopes.setdefault(scope, {}).setdefault(str(label), []).append(trial)
    return scopes


def _adapter_follows_source(trials: Iterable[Trial]) -> bool:
    """Return whether each source reaches a target through a single adapter.

    Such an adapter is a property of the source and must not split sources into separate scopes.
    """
    with_adapter = {(trial.target, trial.row, trial.adapter) for trial in trials}
    without_adapter = {(target, row) for target, row, _ in with_adapter}
    return len(with_adapter) == len(without_adapter)


def collect_points(
    question: Question,
    labelled: Mapping[str, Sequence[Trial]],
    *,
    predictor: Column,
    outcome: Column,
    data: RunData,
) -> QuestionPoints:
    """Return the points of one predictor in one scope.

    Args:
        question: The question.
        labelled: Trials of the scope by label on the question's axis.
        predictor: Column of the predictor.
        outcome: Column of the outcome.
        data: The run.
    """
    points: list[QuestionPoint] = []
    missing: dict[str, str] = {}
    # Each target has its own reference models, so across targets no two points share one.
    by_reference = question.across != "target"
    for label, trials in sorted(labelled.items()):
        pairs = _result_pairs(trials, predictor, outcome, data)
        ranked = [pair for pair in pairs if _is_ranked(pair)]
        if ranked:
            point = _make_point(label, ranked, planned=len(trials), by_reference=by_reference)
            unlearned = [trial for trial in trials if data.unlearned_reason(trial)]
            points.append(replace(point, unlearned_count=len(unlearned)))
        elif pairs:
            missing[label] = "suspicious or invalid"
        else:
            missing[label] = _missing_reason(trials, (predictor, outcome), data)
    return QuestionPoints(predictor, outcome, tuple(points), missing)


def _result_pairs(
    trials: Sequence[Trial], predictor: Column, outcome: Column, data: RunData
) -> list[ResultPair]:
    """Return the results of both sides for each trial that has both."""
    pairs: list[ResultPair] = []
    for trial in trials:
        predictor_results = predictor.results_of(trial, data)
        outcome_results = outcome.results_of(trial, data)
        if predictor_results and outcome_results:
            pairs.append((predictor_results, outcome_results))
    return pairs


def _is_ranked(pair: ResultPair) -> bool:
    return all(result.verdict.is_ranked for side in pair for result in side)


def mean_metric(group: Sequence[ResultData], column: Column) -> float:
    """Return the mean of a metric over results; unknown outcomes count as broken."""
    values = [result.metrics[column.metric or ""].low for result in group]
    return fsum(values) / len(values)


def _make_point(
    label: str, pairs: Sequence[ResultPair], *, planned: int, by_reference: bool
) -> QuestionPoint:
    """Return a point with the results of both sides grouped by reference.

    A side with fewer results than the other has no value per reference (a clean accuracy beside an
    alignment, say): all of its results together are used for each reference.
    """
    reference_count = 1
    if by_reference:
        reference_count = max(len(side) for pair in pairs for side in pair)

    def group_side(sides: Sequence[Sequence[ResultData]]) -> tuple[ResultGroup, ...]:
        if all(len(side) == reference_count for side in sides):
            return tuple(zip(*sides, strict=True))
        pooled = tuple(result for side in sides for result in side)
        return (pooled,) * reference_count

    predictor = group_side([pair[0] for pair in pairs])
    outcome = group_side([pair[1] for pair in pairs])
    return QuestionPoint(label, predictor, outcome, len(pairs), planned)


def _missing_reason(trials: Sequence[Trial], columns: Iterable[Column], data: RunData) -> str:
    """Return why a label has no point: the status of its trials or of the results, or no number."""
    evaluations = {column.evaluation for column in columns}
    reasons: set[StatusName] = set()
    for trial in trials:
        state = data.trial_state(trial)
        if state.value != "done":
            reasons.add(state.value)
        # A trial may be done although the evaluation of one side is not applicable.
        if not evaluations.isdisjoint(state.skipped):
            reasons.add("skipped")
    return ", ".join(STATUS_WORDS[reason] for reason in sorted(reasons)) or "no number"
