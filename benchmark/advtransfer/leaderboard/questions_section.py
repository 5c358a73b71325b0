"""The page section that answers the suite's questions.

Coefficient tables, scatter plots and caveats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from advtransfer.leaderboard.figures import PageFigure
from advtransfer.leaderboard.markdown import (
    ABSENT,
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    format_range,
    inline_code,
    markdown_table,
)
from advtransfer.leaderboard.plots import ScatterPanel, draw_scatter
from advtransfer.leaderboard.questions_coefficients import (
    PredictorResult,
    QuestionAnswer,
    answer_questions,
)
from advtransfer.leaderboard.questions_config import Question
from advtransfer.leaderboard.questions_points import QuestionPoints, QuestionScope
from advtransfer.leaderboard.run_data import RunData
from advtransfer.statistics import COEFFICIENTS
from advtransfer.statistics.correlation import (
    BOOTSTRAP_RESAMPLES,
    MIN_POINTS,
    RANDOM_ORDERS,
    is_exact_test,
    order_count,
)

FEW_POINTS = 10  # below, a 95 % bootstrap interval of a correlation covers less: 85 to 92 % of normal samples with r = .7
INFLUENTIAL_CHANGE = 0.2  # a coefficient that one point moves by more is told to rest on it
SIGNIFICANCE_LEVEL = 0.05  # a question whose p cannot come below can suggest, but not show


def coefficient_caveats(told: Sequence[PredictorResult], *, across: str) -> str:
    """What holds for all predictors of a table, then what is said of each."""
    said = [
        list(filter(None, _result_caveats(one, across=across, asked=len(told)))) for one in told
    ]
    common = [line for line in said[0] if all(line in lines for lines in said)]
    own = [[line for line in lines if line not in common] for lines in said]
    listed_own = [
        f"- {inline_code(one.points.predictor.name)}: {' '.join(lines)}"
        for one, lines in zip(told, own, strict=True)
        if lines
    ]
    return "\n\n".join(filter(None, [" ".join(common), "\n".join(listed_own)]))


def _result_caveats(told: PredictorResult, *, across: str, asked: int) -> Iterator[str]:
    points = told.points.points
    partly = [
        f"{escape_markdown(one.label)} {one.trial_count} of {one.planned_count} trials"
        for one in points
        if one.trial_count < one.planned_count
    ]
    absent = [
        f"{escape_markdown(label)} ({reason})" for label, reason in told.points.missing.items()
    ]
    few = is_exact_test(len(points))
    tried = f"; p from {'all ' if few else ''}{order_count(len(points)):,}{'' if few else ' random'} orders"
    yield f"{count_noun(len(points), 'point')}{tried if told.coefficients['Pearson'].p is not None else ''}."
    yield f"Missing: {', '.join(absent)}." if absent else ""
    yield f"In part: {', '.join(partly)}." if partly else ""
    yield _least_p_caveat(told, asked=asked)
    if len(points) < MIN_POINTS:
        yield f"At least {MIN_POINTS} are needed."
    elif told.coefficients["Pearson"].value is None:
        yield "No coefficient, since one side has no spread."
    elif len(points) < FEW_POINTS:
        yield "A correlation over so few points is driven by each of them, and its interval covers less than 95 %."
    yield _influential_point_caveat(told)
    yield from _scope_caveats(told, across=across)


def _scope_caveats(told: PredictorResult, *, across: str) -> Iterator[str]:
    """What values and intervals are over."""
    if told.coefficients["Pearson"].interval is not None:
        yield from (
            f"Interval over {across}s only for {inline_code(name)}." for name in told.fixed_columns
        )
    yield _kept_samples_caveat(told.points)
    if told.points.reference_count > 1:
        yield f"Computed within each of {told.points.reference_count} reference models, then averaged."
    if told.points.pools_references:
        yield "Values of different reference models are pooled: what sets these apart is in the coefficients, too."


def _least_p_caveat(told: PredictorResult, *, asked: int) -> str:
    """The smallest p corrected that can come out: a question that asks much of few points can show nothing."""
    pearson, ranks = (told.coefficients[name].smallest_p for name in ("Pearson", "Spearman"))
    if pearson is None or ranks is None:
        return ""
    ends = [format_number(min(1.0, asked * least), fine=True) for least in (ranks, pearson)]
    told_ends = (
        ends[0]
        if ends[0] == ends[1]
        else f"{ends[0]} for ranks, {ends[1]} for Pearson's coefficient"
    )
    hint = (
        "; exploratory, since no rank coefficient can reach .05"
        if asked * ranks > SIGNIFICANCE_LEVEL
        else ""
    )
    return f"With {count_noun(asked, 'predictor')} the least p corrected that can come out is {told_ends}{hint}."


def _kept_samples_caveat(points: QuestionPoints) -> str:
    """Over how many samples the predictor was taken, where its results say so: ``kept_tau_1`` beside ``tau_1``."""
    name = f"kept_{points.predictor.metric}"
    answers = [
        answer for point in points.points for sampled in point.predictor for answer in sampled
    ]
    found = [int(answer.metrics[name].low) for answer in answers if name in answer.metrics]
    return f"Taken over {format_range(found)} samples." if found else ""


def _influential_point_caveat(told: PredictorResult) -> str:
    """The point that moves Pearson's coefficient most, if it moves it much or changes its sign."""
    value = told.coefficients["Pearson"].value
    labels = [point.label for point in told.points.points]
    left = [
        (one, label)
        for one, label in zip(told.leave_one_out, labels, strict=False)
        if one is not None
    ]
    if value is None or not left:
        return ""
    without, label = max(left, key=lambda one: (abs(one[0] - value), one[1]))
    if abs(without - value) <= INFLUENTIAL_CHANGE and without * value > 0:
        return ""
    return f"Without {escape_markdown(label)}, Pearson's coefficient is {format_number(without)}."


AXIS_TEXTS = {
    "source": "from {}",
    "adapter": "via {}",
    "target": "{}",
    "n": "n = {}",
    "transfer": "{}",
}
PANELS_PER_ROW = 4  # panels beside each other
MAX_LABELS = 6  # labels written out of those that a question is given
MAX_HEADING_PREDICTORS = 3  # predictors written out in a heading


def questions_section(evidence: RunData) -> tuple[str, list[PageFigure]]:
    """The section, and its figures; nothing where the suite asks nothing.

    Raises:
        BadInput: A question is none, or a metric of it is not in the records.
    """
    found = answer_questions(evidence)
    if not found:
        return "", []
    drawn = [
        _question_figure(finding, name=f"question_{place}.svg")
        for place, finding in enumerate(found, start=1)
    ]
    marks = [f"{place}. " if len(found) > 1 else "" for place in range(1, len(found) + 1)]
    told = [_answer_section(*one) for one in zip(found, drawn, marks, strict=True)]
    return "\n\n".join(["## Questions", *told, _method_section()]), [
        figure for figure in drawn if figure
    ]


def _answer_section(finding: QuestionAnswer, figure: PageFigure | None, mark: str) -> str:
    verb = "does" if len(finding.predictors) == 1 else "do"
    names = _predictor_names(finding.question, written=inline_code)
    outcome, across = inline_code(finding.outcome.name), finding.question.across
    asked = f"### {mark}How well {verb} {names} predict {outcome} across {across}s?"
    given = [f"{axis} {_labels_text(meant)}" for axis, meant in finding.question.given.items()]
    shown = (
        f"![{escape_markdown(figure.text)}]({figure.name})\n\n{figure.caption}" if figure else ""
    )
    answers = [
        f"#### {_scope_title(place)}\n\n{_coefficient_table(told)}\n\n{coefficient_caveats(told, across=across)}"
        for place, told in finding.results.items()
    ]
    parts = [
        asked,
        f"Given: {'; '.join(given)}." if given else "",
        shown,
        *(answers or ["No trial is selected."]),
    ]
    return "\n\n".join(filter(None, parts))


def _labels_text(labels: Sequence[str | int]) -> str:
    more = f", and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
    # labels as code, since one may hold a comma
    return (
        ", ".join(
            inline_code(one) if isinstance(one, str) else str(one) for one in labels[:MAX_LABELS]
        )
        + more
    )


def _predictor_names(question: Question, *, written: Callable[[str], str] = str) -> str:
    """The predictors, or how many, where naming all would make a heading of several lines."""
    several = question.predictors
    return (
        ", ".join(map(written, several))
        if len(several) <= MAX_HEADING_PREDICTORS
        else f"{len(several)} metrics"
    )


def _scope_title(place: QuestionScope) -> str:
    return escape_markdown(
        ", ".join(AXIS_TEXTS[axis].format(label) for axis, label in _ordered_labels(place).items())
    )


def _ordered_labels(place: QuestionScope) -> dict[str, str | int]:
    """The labels of a place, target first."""
    known = {axis: label for axis, label in place if label is not None}
    return {
        axis: known[axis]
        for axis in ("target", "n", "source", "adapter", "transfer")
        if axis in known
    }


def _coefficient_table(told: Sequence[PredictorResult]) -> str:
    header = [
        "predictor",
        "points",
        *(head for name in COEFFICIENTS for head in (name, "p", "p corrected")),
    ]
    rows = [
        [
            escape_markdown(one.points.predictor.name),
            str(len(one.points.points)),
            *_coefficient_cells(one),
        ]
        for one in told
    ]
    return markdown_table(header, rows, right=[False] + [True] * (len(header) - 1))


def _coefficient_cells(told: PredictorResult) -> Iterator[str]:
    for name in COEFFICIENTS:
        found, corrected = told.coefficients[name], told.corrected[name]
        yield (
            ABSENT
            if found.value is None
            else f"{format_number(found.value)}{format_interval(found.interval)}"
        )
        yield _format_p(found.p)
        yield _format_p(corrected)


def _format_p(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "<.001" if p < 0.0005 else format_number(p)


def _question_figure(finding: QuestionAnswer, *, name: str) -> PageFigure | None:
    panels = [
        [_scatter_panel(one, place) for one in told] for place, told in finding.results.items()
    ]
    if not any(panel.points for row in panels for panel in row):
        return None
    wrapped = [
        row[start : start + PANELS_PER_ROW]
        for row in panels
        for start in range(0, len(row), PANELS_PER_ROW)
    ]
    across = finding.question.across
    text = f"{finding.outcome.name} against {_predictor_names(finding.question)}"
    return PageFigure(
        name=name,
        svg=draw_scatter(wrapped, y=finding.outcome.name, title=text),
        text=text,
        caption=f"One point is one {across}: the mean over its trials"
        + (
            " (one a reference model, where there are several)."
            if _has_several_references(finding.results)
            else "."
        ),
    )


def _has_several_references(told: Mapping[QuestionScope, Sequence[PredictorResult]]) -> bool:
    return any(one.points.reference_count > 1 for place in told.values() for one in place)


def _scatter_panel(told: PredictorResult, place: QuestionScope) -> ScatterPanel:
    points = told.points
    title = ", ".join(
        AXIS_TEXTS[axis].format(label) for axis, label in _ordered_labels(place).items()
    )
    if not points.points:
        return ScatterPanel(title, points.predictor.name, ())
    predictor, outcome = points.value_arrays
    drawn = tuple(
        (
            point.label,
            tuple(zip(predictor[:, place].tolist(), outcome[:, place].tolist(), strict=True)),
        )
        for place, point in enumerate(points.points)
    )
    return ScatterPanel(title, points.predictor.name, drawn)


def _method_section() -> str:
    told = [
        f"Brackets: 95 % percentile bootstrap interval, {BOOTSTRAP_RESAMPLES:,} resamples of the points and, for shares of and "
        "means over test images, of the images (one draw for all points of a test part). Points in perfect order stay "
        "so in every resample of points: an interval of their ranks has no width unless images reorder them. What is "
        "no mean over images, or whose values by image are not here, is as measured in every resample.",
        f"p: two-sided permutation test, over all orders or {RANDOM_ORDERS:,} random ones; p corrected: by Holm (1979) for "
        "the number of predictors of the question.",
        "Both take the points for independent. Sources that were made from one another, or share a training, are not: "
        "they say less than their number.",
        "A point is the mean over subset seeds and, across sources, over a source's replicates. Unknown outcomes count "
        "as broken; suspicious and invalid results make no point.",
    ]
    return "\n".join(f"- {line}" for line in told)
