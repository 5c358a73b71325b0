"""Questions across images: how well one number of a test image predicts another of the same image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.leaderboard.image_bootstrap import draw_counts
from advtransfer.leaderboard.markdown import (
    escape_markdown,
    format_interval,
    format_number,
    inline_code,
    markdown_table,
)
from advtransfer.leaderboard.questions_config import Question, axis_labels, read_questions
from advtransfer.leaderboard.questions_points import QuestionScope
from advtransfer.leaderboard.result_data import ResultData
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.scatter import scope_title
from advtransfer.leaderboard.table_rows import Column, find_column, trial_order
from advtransfer.planning import Trial
from advtransfer.statistics.correlation import (
    BOOTSTRAP_RESAMPLES,
    MIN_POINTS,
    MIN_POINTS_TO_RESAMPLE,
    bootstrap_interval,
)
from advtransfer.statistics.weighted_correlation import (
    dense_ranks,
    weighted_pearson,
    weighted_spearman,
)
from advtransfer.suite.leaderboard_settings import QUESTION_AXES
from advtransfer.text import ABSENT
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

METHOD = (
    "Points are test images, with the mean over subset seeds, trainings and reference models; an "
    "image without one of the two numbers is none. Suspicious and invalid results give no point. "
    f"Brackets: 95 % percentile bootstrap interval over {BOOTSTRAP_RESAMPLES:,} resamples of the "
    "images. The models are held: an interval is about other images of these models, not about "
    "other models."
)


@dataclass(frozen=True, slots=True)
class ImageAssociation:
    """Coefficients over the images of one row.

    Attributes:
        image_count: Number of images with both numbers.
        values: Pearson's and Spearman's coefficient, None where one side has no spread or there are
            fewer than `MIN_POINTS` images.
        intervals: Their intervals, None below `MIN_POINTS_TO_RESAMPLE` images, and where fewer than half of the
            resamples have a coefficient.
    """

    image_count: int
    values: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...]


def image_questions_section(data: RunData) -> str:
    """Return the section of the suite's questions across images, empty if it has none.

    Raises:
        BadInput: A metric is not in the records, or several match.
    """
    questions = [each for each in read_questions(data.plan.leaderboard) if each.is_across_images]
    if not questions:
        return ""
    sections = [_question_section(question, data) for question in questions]
    return "\n\n".join(["## Questions across images", *sections, METHOD])


def _question_section(question: Question, data: RunData) -> str:
    outcome = find_column(question.outcome, data)
    predictors = [find_column(name, data) for name in question.predictors]
    names = ", ".join(inline_code(column.name) for column in predictors)
    verb = "does" if len(predictors) == 1 else "do"
    rows: list[list[str]] = []
    for scope, trials in _trials_by_row(question, data).items():
        for predictor in predictors:
            association = image_association(trials, predictor, outcome, data)
            cells = [scope_title(scope), predictor.name]
            rows.append([*map(escape_markdown, cells), *_association_cells(association)])
    parts = [f"### How well {verb} {names} predict {inline_code(outcome.name)} of an image?"]
    if question.note:
        parts.append(escape_markdown(question.note))
    header = ["row", "predictor", "images", "Pearson", "Spearman"]
    right = [False, False, True, True, True]
    parts.append(markdown_table(header, rows, right=right) if rows else "No trial is selected.")
    return "\n\n".join(parts)


def _trials_by_row(question: Question, data: RunData) -> dict[QuestionScope, list[Trial]]:
    """Return the selected trials by everything but seed and training."""
    rows: dict[QuestionScope, list[Trial]] = {}
    for trial in sorted(data.plan.trials, key=trial_order):
        if question.selects_trial(trial):
            labels = axis_labels(trial) | {"source": trial.row}
            scope = tuple((axis, labels[axis]) for axis in QUESTION_AXES if axis != "seed")
            rows.setdefault(scope, []).append(trial)
    return rows


def image_association(
    trials: Iterable[Trial], predictor: Column, outcome: Column, data: RunData
) -> ImageAssociation:
    """Return the coefficients of two columns over the images of the trials of one row."""
    import numpy as np

    sides: list[FloatArray] = []
    ids: list[str] = []
    test_parts: set[str] = set()
    for column in (predictor, outcome):
        results = [
            result
            for trial in trials
            for result in column.results_of(trial, data)
            if result.verdict.is_ranked
        ]
        ids += [result.id for result in results]
        test_parts.update(result.test_id for result in results)
        sides.append(_image_means(results, column.metric or ""))
    # Images of two test parts have nothing in common but their number.
    if len(sides[0]) != len(sides[1]) or len(test_parts) > 1:
        return ImageAssociation(0, (None, None), (None, None))
    has_both = np.isfinite(sides[0]) & np.isfinite(sides[1])
    return associate_images(sides[0][has_both], sides[1][has_both], seed=_seed_of(ids))


def associate_images(x: FloatArray, y: FloatArray, *, seed: int) -> ImageAssociation:
    """Return the coefficients of ``(N,)`` and ``(N,)`` with intervals over resampled images.

    Args:
        x: The predictor of each image.
        y: The outcome of each image.
        seed: Seed of the resamples, below 2 ** 32.
    """
    import numpy as np

    count = len(x)
    first, second = dense_ranks(x), dense_ranks(y)

    def coefficients(weights: FloatArray) -> tuple[float, float]:
        return weighted_pearson(x, y, weights), weighted_spearman(first, second, weights)

    values = (float("nan"), float("nan"))
    if count >= MIN_POINTS:
        values = coefficients(np.ones(count))
    intervals: tuple[tuple[float, float] | None, ...] = (None, None)
    if count >= MIN_POINTS_TO_RESAMPLE and np.isfinite(values).all():
        stream = np.random.RandomState(seed)
        resamples = [
            coefficients(weights)
            for _, chunk in draw_counts(stream, count, BOOTSTRAP_RESAMPLES)
            for weights in chunk
        ]
        intervals = tuple(map(bootstrap_interval, np.array(resamples).T))
    finite = tuple(None if value != value else value for value in values)
    return ImageAssociation(count, finite, intervals)


def _image_means(results: Sequence[ResultData], metric: str) -> FloatArray:
    """Return the mean of each image over results, ``(N,)``, NaN without a value; empty without values by image."""
    import numpy as np

    arrays: list[FloatArray] = []
    for result in results:
        if metric in result.sample_outcomes:
            outcomes = result.sample_outcomes[metric].to_array()
            arrays.append((outcomes == int(Outcome.ROBUST)).astype(np.float64))
        elif metric in result.image_values:
            arrays.append(result.image_values[metric])
    if not arrays:
        return np.zeros(0)
    stacked = np.stack(arrays)
    has_value = np.isfinite(stacked)
    counts = has_value.sum(0)
    sums = np.where(has_value, stacked, 0.0).sum(0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _association_cells(association: ImageAssociation) -> list[str]:
    cells = [str(association.image_count)]
    for value, interval in zip(association.values, association.intervals, strict=True):
        text = ABSENT if value is None else f"{format_number(value)}{format_interval(interval)}"
        cells.append(text)
    return cells


def _seed_of(ids: Iterable[str]) -> int:
    """Return the seed of the resamples: a digest of the result ids, whatever their order."""
    digest = hashlib.sha256("\n".join(sorted(set(ids))).encode()).digest()
    # Four bytes, since numpy's RandomState takes seeds below 2 ** 32.
    return int.from_bytes(digest[:4], "big")
