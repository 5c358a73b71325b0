"""The questions of a suite as its plan stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.planning import Trial
from advtransfer.suite.leaderboard_settings import IMAGE_AXIS, QUESTION_AXES
from advtransfer.types import Json

ACROSS = (*QUESTION_AXES, IMAGE_AXIS)
"""Axes that a question can be across."""
CLAIM_METRIC_KEYS = ("predictor", "outcome", "lower", "upper")
"""Keys of a claim whose metrics are read by test image."""


@dataclass(frozen=True, slots=True)
class TrialSelection:
    """The trials with some labels; `given` restricts each axis that it names to these."""

    given: Mapping[str, tuple[str | int, ...]]

    def selects_trial(self, trial: Trial) -> bool:
        """Return whether a trial has one of the given labels on each restricted axis."""
        trial_labels = axis_labels(trial)
        return all(trial_labels[axis] in labels for axis, labels in self.given.items())


@dataclass(frozen=True, slots=True)
class Question:
    """How well predictors predict an outcome across an axis of the grid.

    Attributes:
        predictors: Column names of the predictors.
        outcome: Column name of the outcome.
        across: Axis whose labels are the points, or `IMAGE_AXIS`, where test images are.
        given: Labels to which other axes are restricted.
        exploratory: Whether it was asked after looking at results, so that no p is printed.
        note: A text for the page, empty without one.
    """

    predictors: tuple[str, ...]
    outcome: str
    across: str
    given: Mapping[str, tuple[str | int, ...]]
    exploratory: bool = False
    note: str = ""

    @property
    def is_across_images(self) -> bool:
        """Whether its points are the test images of each row."""
        return self.across == IMAGE_AXIS

    @property
    def metrics(self) -> tuple[str, ...]:
        """All columns of the question."""
        return (*self.predictors, self.outcome)

    def selects_trial(self, trial: Trial) -> bool:
        """Return whether a trial has one of the given labels on each restricted axis."""
        return TrialSelection(self.given).selects_trial(trial)


def axis_labels(trial: Trial) -> dict[str, str | int | None]:
    """Return the label of a trial on each axis; a source's label includes its replicate."""
    return {axis: getattr(trial, axis) for axis in QUESTION_AXES}


def read_selection(given: Json) -> TrialSelection:
    """Return the selection that a plan stores as ``given``; without one, all trials.

    Raises:
        BadInput: It names an unknown axis.
    """
    if given is None:
        return TrialSelection({})
    if not isinstance(given, Mapping) or not given.keys() <= set(QUESTION_AXES):
        expected = f"a mapping of {', '.join(QUESTION_AXES)}"
        step = "correct it in the suite and run it again"
        raise BadInput([Problem(f"given {given!r}", expected, step)])
    return TrialSelection({axis: _as_labels(labels) for axis, labels in given.items()})


def read_questions(settings: Mapping[str, Json]) -> list[Question]:
    """Return the questions in a plan's ``leaderboard``.

    Raises:
        BadInput: A question lacks a predictor, an outcome or an axis, or names an unknown axis.
    """
    entries = settings.get("questions")
    if not isinstance(entries, list | tuple):
        return []
    return [_read_question(entry) for entry in entries]


def per_image_metrics(settings: Mapping[str, Json]) -> set[str]:
    """Return the columns whose values by test image a page reads: those of questions and claims.

    Raises:
        BadInput: A question is malformed.
    """
    names = {name for question in read_questions(settings) for name in question.metrics}
    claims = settings.get("claims")
    for claim in claims if isinstance(claims, list | tuple) else ():
        if isinstance(claim, Mapping):
            for key in CLAIM_METRIC_KEYS:
                names.update(_text_labels(claim.get(key)))
    return names


def metric_stems(columns: Iterable[str], evaluation: str) -> set[str]:
    """Return the metrics of an evaluation among some columns, without eps and epoch.

    A suite may leave these out, so they cannot be compared before the columns are found.
    """
    prefix = f"{evaluation}."
    own = [name.removeprefix(prefix) for name in columns if name.startswith(prefix)]
    return set(map(metric_stem, own))


def owning_evaluation(column: str, labels: Iterable[str]) -> str | None:
    """Return the evaluation that a column such as ``pgd.robust_accuracy@0.1`` is of, or None."""
    owners = [label for label in labels if column.startswith(f"{label}.")]
    # Labels may hold dots, so `a.b` can be the start of another label: the longest is meant.
    return max(owners, key=len, default=None)


def metric_stem(metric: str) -> str:
    """Return ``robust_accuracy`` for ``robust_accuracy@0.1@5``."""
    return metric.partition("@")[0]


def _read_question(entry: Json) -> Question:
    if not isinstance(entry, Mapping):
        raise _question_error(entry)
    predictors = _text_labels(entry.get("predictor"))
    outcomes = _text_labels(entry.get("outcome"))
    across = entry.get("across")
    given = entry.get("given") or {}
    if not predictors or len(outcomes) != 1 or across not in ACROSS:
        raise _question_error(entry)
    if not isinstance(given, Mapping) or not given.keys() <= set(QUESTION_AXES):
        raise _question_error(entry)
    exploratory = entry.get("exploratory") or False
    note = entry.get("note") or ""
    if not isinstance(exploratory, bool) or not isinstance(note, str):
        raise _question_error(entry)
    restrictions = {axis: _as_labels(labels) for axis, labels in given.items()}
    return Question(predictors, outcomes[0], str(across), restrictions, exploratory, note)


def _text_labels(value: Json) -> tuple[str, ...]:
    return tuple(label for label in _as_labels(value) if isinstance(label, str))


def _as_labels(value: Json) -> tuple[str | int, ...]:
    """Return one label or a list of labels as a tuple."""
    labels = value if isinstance(value, list | tuple) else [value]
    return tuple(label for label in labels if isinstance(label, str | int))


def _question_error(entry: object) -> BadInput:
    found = f"leaderboard question {entry!r}"
    expected = (
        f"predictor, outcome, across ({', '.join(ACROSS)}), and perhaps given, exploratory "
        "(true or false) and note (a text)"
    )
    return BadInput([Problem(found, expected, "correct it in the suite and run it again")])
