"""The answers to a suite's questions: each predictor's coefficients at each place, corrected for their number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from advtransfer.leaderboard.asked import Question, questions
from advtransfer.leaderboard.columns import Column, find
from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.points import Place, Points, places, points_of
from advtransfer.leaderboard.resample import Redraw
from advtransfer.statistics import COEFFICIENTS, Association, Coefficient, associations, holm, without_each


@dataclass(frozen=True, slots=True)
class Told:
    """What one predictor tells at one place.

    `corrected` are p values held to the number of predictors asked; `without` is Pearson's coefficient without each
    point, where there are enough; `fixed` are the columns that were not resampled over test images.
    """

    points: Points
    coefficients: Mapping[Coefficient, Association]
    without: tuple[float | None, ...] = ()
    fixed: tuple[str, ...] = ()
    corrected: Mapping[Coefficient, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question: by place, what each predictor tells."""

    question: Question
    predictors: tuple[Column, ...]
    outcome: Column
    told: Mapping[Place, tuple[Told, ...]]


def findings(evidence: Evidence) -> list[Finding]:
    """The answers to every question of the suite.

    Raises:
        BadInput: A metric is not in the records, or fits several.
    """
    return [_finding(question, evidence) for question in questions(evidence.plan.leaderboard)]


def _finding(question: Question, evidence: Evidence) -> Finding:
    predictors = tuple(find(name, evidence) for name in question.predictors)
    outcome = find(question.outcome, evidence)
    there = {
        place: [points_of(question, labelled, predictor=one, outcome=outcome, evidence=evidence) for one in predictors]
        for place, labelled in places(question, evidence).items()
    }
    return Finding(question, predictors, outcome, {place: _told(points) for place, points in there.items()})


def _told(asked: list[Points]) -> tuple[Told, ...]:
    found = [_alone(points) for points in asked]
    corrected = {name: holm([one.coefficients[name].p for one in found]) for name in COEFFICIENTS}
    return tuple(
        replace(told, corrected={name: corrected[name][place] for name in COEFFICIENTS})
        for place, told in enumerate(found)
    )


def _alone(points: Points) -> Told:
    """What a predictor tells before any is corrected for the others."""
    if not points.points:
        return Told(points, {name: Association(None) for name in COEFFICIENTS})
    x, y = points.values
    redraw = Redraw(points)
    found = associations(x, y, seed=_seed(points), resampled=redraw)
    return Told(points, found, without_each(x, y), redraw.fixed)


def _seed(points: Points) -> int:
    """What resamples are drawn by: the results alone, so that neither their order nor other questions change them."""
    sampled = [answers for point in points.points for answers in (*point.predictor, *point.outcome)]
    ids = sorted({answer.id for answers in sampled for answer in answers})
    text = "\n".join([points.predictor.name, points.outcome.name, *ids])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
