"""The points that a question is answered from: what predicts and what came out, one of each a label on its axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.leaderboard.asked import Question, axes
from advtransfer.leaderboard.columns import Column
from advtransfer.leaderboard.evidence import Answer, Evidence
from advtransfer.leaderboard.rows import order
from advtransfer.plan import Trial
from advtransfer.plan.status import WORDS
from advtransfer.suite.board import ACROSS

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import Values

Place: TypeAlias = "tuple[tuple[str, str | int | None], ...]"
"""What is held fixed: each axis but the question's and the seeds, with its label."""
Sampled: TypeAlias = "tuple[Answer, ...]"
"""The results that a value is the mean of."""


@dataclass(frozen=True, slots=True)
class Point:
    """One label: by reference, the results behind each side; `planned` trials, of which `trials` have both sides."""

    label: str
    predictor: tuple[Sampled, ...]
    outcome: tuple[Sampled, ...]
    trials: int
    planned: int


@dataclass(frozen=True, slots=True)
class Points:
    """The points of one predictor at one place, by label, and why other labels have none."""

    predictor: Column
    outcome: Column
    points: tuple[Point, ...]
    missing: Mapping[str, str]

    @property
    def references(self) -> int:
        """How many reference models there are; within each, points are compared."""
        return max((len(point.predictor) for point in self.points), default=1)

    @property
    def pooled(self) -> bool:
        """Whether values of different reference models are compared."""
        sides = ([point.predictor for point in self.points], [point.outcome for point in self.points])
        rows = [row for side in sides for row in zip(*side, strict=True)]
        return any(len({answer.reference for sampled in row for answer in sampled}) > 1 for row in rows)

    @property
    def values(self) -> tuple[Values, Values]:
        """Predictor and outcome, ``(R, S)`` each."""
        import numpy as np

        predictor = [[value(one, self.predictor) for one in point.predictor] for point in self.points]
        outcome = [[value(one, self.outcome) for one in point.outcome] for point in self.points]
        return np.array(predictor).T, np.array(outcome).T


def places(question: Question, evidence: Evidence) -> dict[Place, dict[str, list[Trial]]]:
    """The trials that a question is about, by place and by label on its axis; those without a label are left out."""
    trials = [trial for trial in sorted(evidence.plan.trials, key=order) if question.asks_about(trial)]
    free = {question.across, "seed"} | ({"adapter"} if _own_adapters(trials) else set())
    found: dict[Place, dict[str, list[Trial]]] = {}
    for trial in trials:
        at = axes(trial) | {"source": trial.row}
        label = at[question.across]
        if label is not None:
            fixed = tuple((axis, at[axis]) for axis in ACROSS if axis not in free)
            found.setdefault(fixed, {}).setdefault(str(label), []).append(trial)
    return found


def _own_adapters(trials: Iterable[Trial]) -> bool:
    """Whether each source reaches a target through one adapter: then it belongs to the source, and sets none apart."""
    pairs = {(trial.target, trial.row, trial.adapter) for trial in trials}
    return len(pairs) == len({(target, row) for target, row, _ in pairs})


def points_of(
    question: Question,
    labelled: Mapping[str, Sequence[Trial]],
    *,
    predictor: Column,
    outcome: Column,
    evidence: Evidence,
) -> Points:
    """The points of one predictor at one place."""
    points, missing = [], {}
    for label, trials in sorted(labelled.items()):
        both = [(predictor.answers(one, evidence), outcome.answers(one, evidence)) for one in trials]
        told = [(left, right) for left, right in both if left and right]
        believed = [pair for pair in told if all(answer.verdict.ranked for side in pair for answer in side)]
        if believed:
            points.append(_point(label, believed, planned=len(trials), within=question.across != "target"))
        else:
            missing[label] = "not believed" if told else _reason(trials, (predictor, outcome), evidence)
    return Points(predictor, outcome, tuple(points), missing)


def value(sampled: Iterable[Answer], column: Column) -> float:
    """The mean of a metric over results; unknown outcomes count as broken."""
    values = [answer.metrics[column.metric or ""].low for answer in sampled]
    return fsum(values) / len(values)


def _point(
    label: str, pairs: Sequence[tuple[Sequence[Answer], Sequence[Answer]]], *, planned: int, within: bool
) -> Point:
    """The results by reference; a side with fewer results than the other is taken over all of its own in each."""
    references = max(len(side) for pair in pairs for side in pair) if within else 1

    def side(which: int) -> tuple[Sampled, ...]:
        if all(len(pair[which]) == references for pair in pairs):
            return tuple(tuple(pair[which][k] for pair in pairs) for k in range(references))
        return (tuple(answer for pair in pairs for answer in pair[which]),) * references

    return Point(label, side(0), side(1), len(pairs), planned)


def _reason(trials: Sequence[Trial], columns: Iterable[Column], evidence: Evidence) -> str:
    """Why a label has no point: how its trials, or the results in question, stand, or that these lack the number."""
    states = [evidence.state(trial) for trial in trials]
    standing = {state.value for state in states} - {"done"}
    if any(column.evaluation in state.skipped for state in states for column in columns):
        standing.add("skipped")
    return ", ".join(WORDS[one] for one in sorted(standing)) or "no number"
