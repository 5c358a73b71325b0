"""The questions of a suite as its plan stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.planning import Trial
from advtransfer.suite.leaderboard_settings import QUESTION_AXES
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class Question:
    """How well do the predictors tell the outcome across an axis, over the trials that `given` selects?

    `given` maps an axis to the labels that are meant on it.
    """

    predictors: tuple[str, ...]
    outcome: str
    across: str
    given: Mapping[str, tuple[str | int, ...]]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every column that it is about."""
        return (*self.predictors, self.outcome)

    def selects_trial(self, trial: Trial) -> bool:
        """Whether a trial is among those selected."""
        place = axis_labels(trial)
        return all(place[axis] in meant for axis, meant in self.given.items())


def axis_labels(trial: Trial) -> dict[str, str | int | None]:
    """The label, or value, of a trial on each axis; of a source with its replicate."""
    return {axis: getattr(trial, axis) for axis in QUESTION_AXES}


def read_questions(settings: Mapping[str, Json]) -> list[Question]:
    """The questions in a plan's ``leaderboard``.

    Raises:
        BadInput: One lacks a predictor, an outcome or an axis, or names an axis that is none.
    """
    asked = settings.get("questions")
    return [_read_question(one) for one in asked] if isinstance(asked, list | tuple) else []


def metric_stems(asked: Iterable[Question], evaluation: str) -> set[str]:
    """The names of an evaluation's metrics that questions are about, without the eps and epoch they may leave out."""
    start = f"{evaluation}."
    names = [name for question in asked for name in question.metrics if name.startswith(start)]
    return {metric_stem(name.removeprefix(start)) for name in names}


def metric_stem(metric: str) -> str:
    """``robust_accuracy`` of ``robust_accuracy@0.1@5``."""
    return metric.partition("@")[0]


def _read_question(asked: Json) -> Question:
    said = asked if isinstance(asked, Mapping) else {}
    predictors, outcome = _text_labels(said.get("predictor")), _text_labels(said.get("outcome"))
    across, given = said.get("across"), said.get("given") or {}
    meant = (
        {axis: _as_labels(labels) for axis, labels in given.items()}
        if isinstance(given, Mapping)
        else {"given": ()}
    )
    if (
        not predictors
        or len(outcome) != 1
        or across not in QUESTION_AXES
        or not meant.keys() <= set(QUESTION_AXES)
    ):
        raise _question_error(asked)
    return Question(predictors, outcome[0], str(across), meant)


def _text_labels(value: Json) -> tuple[str, ...]:
    return tuple(one for one in _as_labels(value) if isinstance(one, str))


def _as_labels(value: Json) -> tuple[str | int, ...]:
    """One label or several."""
    several = value if isinstance(value, list | tuple) else [value]
    return tuple(one for one in several if isinstance(one, str | int))


def _question_error(asked: object) -> BadInput:
    expected = f"predictor, outcome, across ({', '.join(QUESTION_AXES)}), and perhaps given"
    return BadInput(
        [
            Problem(
                f"leaderboard question {asked!r}",
                expected,
                "correct it in the suite and run it again",
            )
        ]
    )
