"""Answers to a suite's questions: coefficients with bootstrap intervals and corrected p values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from advtransfer.leaderboard.image_bootstrap import ImageBootstrap
from advtransfer.leaderboard.questions_config import Question, read_questions
from advtransfer.leaderboard.questions_controls import ScopeControls, scope_controls
from advtransfer.leaderboard.questions_families import (
    Hypothesis,
    count_origins,
    first_label,
    hypothesis_families,
)
from advtransfer.leaderboard.questions_points import (
    QuestionPoints,
    QuestionScope,
    collect_points,
    trials_by_scope,
)
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import Column, find_column
from advtransfer.planning import Trial
from advtransfer.statistics import (
    COEFFICIENTS,
    Association,
    Coefficient,
    all_associations,
    holm_correction,
    leave_one_out,
)
from advtransfer.statistics.correlation import MIN_POINTS


@dataclass(frozen=True, slots=True)
class PredictorResult:
    """The coefficients of one predictor in one scope.

    Attributes:
        points: The points.
        hypothesis: What is tested, for the correction of p values.
        coefficients: Coefficients with interval and p value.
        leave_one_out: Pearson's coefficient without each point, empty if there are too few points.
        fixed_columns: Columns that are not resampled over test images.
        corrected: p values corrected for the number of hypotheses in the family.
        family_size: Number of hypotheses that are corrected together with this one.
        origin_count: Number of groups of points that share no source from which theirs descend.
    """

    points: QuestionPoints
    hypothesis: Hypothesis
    coefficients: Mapping[Coefficient, Association]
    leave_one_out: tuple[float | None, ...] = ()
    fixed_columns: tuple[str, ...] = ()
    corrected: Mapping[Coefficient, float | None] = field(default_factory=dict)
    family_size: int = 1
    origin_count: int = 0

    @property
    def is_testable(self) -> bool:
        """Whether enough points are independent of each other for a p value."""
        return self.origin_count >= min(MIN_POINTS, len(self.points.points))

    def least_p(self, coefficient: Coefficient) -> float | None:
        """Return the smallest corrected p value that any data of so many points could give, if there is one."""
        least = self.coefficients[coefficient].smallest_p
        # Holm (1979) multiplies the smallest p value by the number of predictors.
        return None if least is None else min(1.0, self.family_size * least)


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """The answer to one question: the results of its predictors and its controls, by scope."""

    question: Question
    predictors: tuple[Column, ...]
    outcome: Column
    results: Mapping[QuestionScope, tuple[PredictorResult, ...]]
    controls: Mapping[QuestionScope, ScopeControls]


def answer_questions(data: RunData) -> list[QuestionAnswer]:
    """Return the answers to all questions of the suite but those across images.

    Raises:
        BadInput: A metric is not in the records, or several match.
    """
    answers = [
        uncorrected_answer(question, data)
        for question in read_questions(data.plan.leaderboard)
        if not question.is_across_images
    ]
    corrected = _corrected_p_values(answers)
    return [_corrected_answer(answer, corrected) for answer in answers]


def uncorrected_answer(question: Question, data: RunData) -> QuestionAnswer:
    """Return the answer to one question before p values are corrected.

    Raises:
        BadInput: A metric is not in the records, or several match.
    """
    predictors = tuple(find_column(name, data) for name in question.predictors)
    outcome = find_column(question.outcome, data)
    results: dict[QuestionScope, tuple[PredictorResult, ...]] = {}
    controls: dict[QuestionScope, ScopeControls] = {}
    for scope, labelled in trials_by_scope(question, data.plan).items():
        scope_results: list[PredictorResult] = []
        for predictor in predictors:
            points = collect_points(
                question, labelled, predictor=predictor, outcome=outcome, data=data
            )
            scope_results.append(_uncorrected_result(question, points, labelled, data))
        results[scope] = tuple(scope_results)
        controls[scope] = scope_controls(question, labelled, outcome=outcome, data=data)
    return QuestionAnswer(question, predictors, outcome, results, controls)


def _uncorrected_result(
    question: Question,
    points: QuestionPoints,
    labelled: Mapping[str, Sequence[Trial]],
    data: RunData,
) -> PredictorResult:
    trials = [trial for of_label in labelled.values() for trial in of_label]
    predictor_key = first_label(points.predictor.key, trials)
    outcome_key = first_label(points.outcome.key, trials)
    ids = frozenset(trial.id for trial in trials)
    hypothesis = Hypothesis(predictor_key, outcome_key, question.across, ids)
    if not points.points:
        return PredictorResult(points, hypothesis, dict.fromkeys(COEFFICIENTS, Association(None)))
    predictor, outcome = points.value_arrays
    bootstrap = ImageBootstrap(points)
    associations = all_associations(
        predictor, outcome, seed=_resampling_seed(points), resampled=bootstrap
    )
    with_points = {point.label: labelled[point.label] for point in points.points}
    parents = {id: source.parents for id, source in data.source_data.items()}
    result = PredictorResult(
        points,
        hypothesis,
        associations,
        leave_one_out(predictor, outcome),
        bootstrap.fixed_columns,
        origin_count=count_origins(question.across, with_points, parents),
    )
    return result if result.is_testable else _without_p(result)


def _corrected_p_values(
    answers: Sequence[QuestionAnswer],
) -> dict[Hypothesis, tuple[int, dict[Coefficient, float | None]]]:
    """Return the size of each hypothesis's family and its p values corrected for it (Holm, 1979)."""
    results: dict[Hypothesis, PredictorResult] = {}
    for answer in answers:
        for scope_results in answer.results.values():
            results |= {result.hypothesis: result for result in scope_results}
    corrected: dict[Hypothesis, tuple[int, dict[Coefficient, float | None]]] = {}
    for family in hypothesis_families(results):
        corrected |= {hypothesis: (len(family), {}) for hypothesis in family}
        for name in COEFFICIENTS:
            p_values = [results[hypothesis].coefficients[name].p for hypothesis in family]
            for hypothesis, p in zip(family, holm_correction(p_values), strict=True):
                corrected[hypothesis][1][name] = p
    return corrected


def _corrected_answer(
    answer: QuestionAnswer,
    corrected: Mapping[Hypothesis, tuple[int, dict[Coefficient, float | None]]],
) -> QuestionAnswer:
    results: dict[QuestionScope, tuple[PredictorResult, ...]] = {}
    for scope, scope_results in answer.results.items():
        completed: list[PredictorResult] = []
        for result in scope_results:
            size, p_values = corrected[result.hypothesis]
            complete = replace(result, family_size=size, corrected=p_values)
            # Exploratory predictors were looked at, so they count in their family all the same.
            completed.append(_without_p(complete) if answer.question.exploratory else complete)
        results[scope] = tuple(completed)
    return replace(answer, results=results)


def _without_p(result: PredictorResult) -> PredictorResult:
    coefficients = {
        name: replace(association, p=None, smallest_p=None)
        for name, association in result.coefficients.items()
    }
    return replace(result, coefficients=coefficients, corrected=dict.fromkeys(COEFFICIENTS))


def _resampling_seed(points: QuestionPoints) -> int:
    """Return the seed of the resamples: a digest of the result ids.

    Neither the order of the results nor other questions change it.
    """
    ids: set[str] = set()
    for point in points.points:
        for group in (*point.predictor, *point.outcome):
            ids.update(result.id for result in group)
    text = "\n".join([points.predictor.name, points.outcome.name, *sorted(ids)])
    digest = hashlib.sha256(text.encode()).digest()
    # Four bytes, since numpy's RandomState takes seeds below 2 ** 32.
    return int.from_bytes(digest[:4], "big")
