"""A correlation with one coefficient for each training: the trainings are the independent units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advtransfer.leaderboard.questions_config import Question
from advtransfer.leaderboard.questions_families import count_origins, origins_of
from advtransfer.leaderboard.questions_points import collect_points, trials_by_scope
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.planning import Plan, Trial
from advtransfer.statistics import Coefficient, MeanEstimate, mean_interval, t_p_value
from advtransfer.statistics.correlation import MIN_POINTS, correlation_coefficient


@dataclass(frozen=True, slots=True)
class TrainingCorrelation:
    """The mean of the coefficients of trainings.

    Attributes:
        estimate: Mean and t-interval over trainings.
        p_value: p of a mean of 0, None where trainings are not independent.
        point_count: Points of each coefficient.
        remark: What is left out or doubtful, empty without any.
    """

    estimate: MeanEstimate
    p_value: float | None
    point_count: int
    remark: str = ""


LabelledTrials = Mapping[str, Sequence[Trial]]


def trials_by_training(
    question: Question, plan: Plan, parents: Mapping[str, Sequence[str]]
) -> list[LabelledTrials]:
    """Return the trials of each training by label.

    A training is a replicate of its source. Where sources have no replicates, it is what the source descends from:
    all copies of a trained network with more and more noise are one training.
    """
    trainings: dict[object, dict[str, list[Trial]]] = {}
    for scope, labelled in trials_by_scope(question, plan).items():
        for label, trials in labelled.items():
            for trial in trials:
                unit: object = trial.replicate
                if unit is None:
                    unit = origins_of([trial], parents)
                trainings.setdefault((scope, unit), {}).setdefault(label, []).append(trial)
    return list(trainings.values())


def correlation_per_training(
    question: Question, coefficient: Coefficient, data: RunData
) -> TrainingCorrelation | str:
    """Return the mean of the coefficients of all trainings that have every point, or why there is none.

    The interval and p are those of Student's t over trainings.

    Raises:
        BadInput: A metric is not in the records, or several match.
    """
    predictor = find_column(question.predictors[0], data)
    outcome = find_column(question.outcome, data)
    parents = {id: source.parents for id, source in data.source_data.items()}
    trainings = trials_by_training(question, data.plan, parents)
    most = max(map(len, trainings), default=0)
    values: list[float] = []
    counted: dict[str, list[Trial]] = {}
    for number, labelled in enumerate(trainings):
        points = collect_points(question, labelled, predictor=predictor, outcome=outcome, data=data)
        if len(points.points) < max(most, MIN_POINTS):
            continue
        value = float(correlation_coefficient(coefficient, *points.value_arrays).mean())
        if value == value:  # NaN where one side has no spread.
            values.append(value)
            counted[str(number)] = [trial for trials in labelled.values() for trial in trials]
    if not values:
        return f"no training has all of its {most} points with a spread; {MIN_POINTS} are needed"
    estimate = mean_interval(values)
    remarks: list[str] = []
    if len(values) < len(trainings):
        remarks.append(f", of {len(trainings)} planned")
    is_independent = count_origins("source", counted, parents) == len(values)
    if not is_independent:
        remarks.append(" that share sources, so no p")
    has_test = is_independent and estimate.interval is not None
    return TrainingCorrelation(
        estimate, t_p_value(estimate) if has_test else None, most, "".join(remarks)
    )
