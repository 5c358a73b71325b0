"""Controls of a question: what predicts the outcome without any estimator.

An estimator of transfer is worth its price only where it beats what is known of a source anyway:
its accuracy on its own task (Kornblith et al., 2019) and its number of parameters. A random ranking
shows what coefficients chance gives. Controls are outside the family whose p values are corrected,
and have no p of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from typing import TYPE_CHECKING

from advtransfer.leaderboard.image_bootstrap import ImageBootstrap
from advtransfer.leaderboard.questions_config import Question
from advtransfer.leaderboard.questions_points import QuestionPoints, collect_points
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.source_data import SourceData
from advtransfer.leaderboard.table_rows import Column
from advtransfer.planning import Trial
from advtransfer.statistics import (
    Association,
    ChanceLevel,
    Coefficient,
    all_associations,
    chance_levels,
)

if TYPE_CHECKING:
    from numpy.random import RandomState

    from advtransfer.statistics.correlation import FloatArray


@dataclass(frozen=True, slots=True)
class StaticControl:
    """Coefficients of a number that is known of each source before any transfer."""

    name: str
    point_count: int
    coefficients: Mapping[Coefficient, Association]


@dataclass(frozen=True, slots=True)
class ScopeControls:
    """The controls of one scope: static rankings, and the chance level over `point_count` points."""

    static: tuple[StaticControl, ...] = ()
    chance: Mapping[Coefficient, ChanceLevel] = field(default_factory=dict)
    point_count: int = 0


def own_accuracy(source: SourceData) -> float | None:
    """Return the source's clean accuracy on the test part of its own data, None if not measured."""
    return source.probe.get("clean_accuracy") if source.probe else None


def parameter_count(source: SourceData) -> float | None:
    """Return the number of parameters of the source's network, None if not recorded."""
    return source.parameters


STATIC_RANKINGS: Mapping[str, Callable[[SourceData], float | None]] = {
    "source's own accuracy": own_accuracy,
    "number of parameters": parameter_count,
}


def scope_controls(
    question: Question, labelled: Mapping[str, Sequence[Trial]], *, outcome: Column, data: RunData
) -> ScopeControls:
    """Return the controls of one scope; static rankings only across sources.

    Args:
        question: The question.
        labelled: Trials of the scope by label on the question's axis.
        outcome: Column of the outcome.
        data: The run.
    """
    points = collect_points(question, labelled, predictor=outcome, outcome=outcome, data=data)
    if not points.points:
        return ScopeControls()
    static: list[StaticControl] = []
    if question.across == "source":
        for name, read_value in STATIC_RANKINGS.items():
            values = _values_by_label(labelled, read_value, data)
            known = tuple(point for point in points.points if point.label in values)
            if known:
                static.append(_static_control(name, replace(points, points=known), values))
    seed = _control_seed(points, "random ranking")
    chance = chance_levels(points.value_arrays[1], seed=seed)
    return ScopeControls(tuple(static), chance, len(points.points))


def _values_by_label(
    labelled: Mapping[str, Sequence[Trial]],
    read_value: Callable[[SourceData], float | None],
    data: RunData,
) -> dict[str, float]:
    """Return the mean over the trainings of each label of which all have the value."""
    values: dict[str, float] = {}
    for label, trials in labelled.items():
        ids = sorted({trial.builds[0] for trial in trials if trial.source is not None})
        read = [read_value(data.source_data[id]) for id in ids if id in data.source_data]
        known = [value for value in read if value is not None]
        if ids and len(known) == len(ids):
            values[label] = fsum(known) / len(known)
    return values


def _static_control(
    name: str, points: QuestionPoints, values: Mapping[str, float]
) -> StaticControl:
    import numpy as np

    outcome = points.value_arrays[1]
    bootstrap = ImageBootstrap(points)
    row = np.array([values[point.label] for point in points.points], dtype=np.float64)
    ranking = np.tile(row, (len(outcome), 1))

    def resample_outcome(stream: RandomState, count: int) -> tuple[FloatArray, FloatArray]:
        return np.repeat(ranking[None], count, axis=0), bootstrap(stream, count)[1]

    associations = all_associations(
        ranking, outcome, seed=_control_seed(points, name), resampled=resample_outcome
    )
    coefficients = {
        coefficient: replace(association, p=None, smallest_p=None)
        for coefficient, association in associations.items()
    }
    return StaticControl(name, len(points.points), coefficients)


def _control_seed(points: QuestionPoints, name: str) -> int:
    """Return the seed of a control's draws: a digest of its name and of the points' labels."""
    labels = [point.label for point in points.points]
    text = "\n".join([name, points.outcome.name, *labels])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
