"""The page section on the suite's questions: coefficient tables, scatter plots and caveats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from advtransfer.leaderboard.figures import PageFigure
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    format_range,
    inline_code,
    join_parts,
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
from advtransfer.text import ABSENT

# With fewer points, a 95 % bootstrap interval covers the correlation of normal samples (r = .7) in
# only 85 to 92 % of cases.
FEW_POINTS = 10
INFLUENTIAL_CHANGE = 0.2  # change of a coefficient above which the page names the responsible point
SIGNIFICANCE_LEVEL = 0.05  # a question whose p cannot fall below it is exploratory


def coefficient_caveats(results: Sequence[PredictorResult], *, across: str) -> str:
    """Return the caveats of a table: first those of all predictors, then a list by predictor."""
    caveats: list[list[str]] = []
    for result in results:
        sentences = _result_caveats(result, across=across, predictor_count=len(results))
        caveats.append([sentence for sentence in sentences if sentence])
    common = [line for line in caveats[0] if all(line in lines for lines in caveats)]
    items: list[str] = []
    for result, lines in zip(results, caveats, strict=True):
        own = [line for line in lines if line not in common]
        if own:
            items.append(f"- {inline_code(result.points.predictor.name)}: {' '.join(own)}")
    return join_parts([" ".join(common), "\n".join(items)])


def _result_caveats(result: PredictorResult, *, across: str, predictor_count: int) -> Iterator[str]:
    """Yield the caveats of one predictor; empty strings where one does not apply."""
    points = result.points.points
    pearson = result.coefficients["Pearson"]
    orders = f"; p from {_orders_text(len(points))}" if pearson.p is not None else ""
    yield f"{count_noun(len(points), 'point')}{orders}."
    yield _missing_points_caveat(result.points)
    yield _incomplete_points_caveat(result.points)
    yield _least_p_caveat(result, predictor_count=predictor_count)
    if len(points) < MIN_POINTS:
        yield f"At least {MIN_POINTS} are needed."
    elif pearson.value is None:
        yield "No coefficient, since one side has no spread."
    elif len(points) < FEW_POINTS:
        yield (
            "With so few points, each of them has a large influence on a correlation, and its "
            "interval covers less than 95 %."
        )
    yield _influential_point_caveat(result)
    yield from _scope_caveats(result, across=across)


def _orders_text(points: int) -> str:
    if is_exact_test(points):
        return f"all {order_count(points):,} orders"
    return f"{order_count(points):,} random orders"


def _missing_points_caveat(points: QuestionPoints) -> str:
    items: list[str] = []
    for label, reason in points.missing.items():
        items.append(f"{escape_markdown(label)} ({reason})")
    return f"Missing: {', '.join(items)}." if items else ""


def _incomplete_points_caveat(points: QuestionPoints) -> str:
    items = [
        f"{escape_markdown(point.label)} {point.trial_count} of {point.planned_count} trials"
        for point in points.points
        if point.trial_count < point.planned_count
    ]
    return f"Incomplete: {', '.join(items)}." if items else ""


def _scope_caveats(result: PredictorResult, *, across: str) -> Iterator[str]:
    """Yield the sample of intervals and values."""
    if result.coefficients["Pearson"].interval is not None:
        for name in result.fixed_columns:
            yield f"Interval over {across}s only for {inline_code(name)}."
    yield _kept_samples_caveat(result.points)
    references = result.points.reference_count
    if references > 1:
        yield f"Computed within each of {references} reference models, then averaged."
    if result.points.pools_references:
        yield (
            "Values of different reference models are pooled: differences between these models "
            "also enter the coefficients."
        )


def _least_p_caveat(result: PredictorResult, *, predictor_count: int) -> str:
    """Return the smallest corrected p value that the data could give.

    A question with many predictors and few points cannot reach significance, whatever the data.
    """
    pearson = result.coefficients["Pearson"].smallest_p
    ranks = result.coefficients["Spearman"].smallest_p
    if pearson is None or ranks is None:
        return ""
    # Holm (1979) multiplies the smallest p value by the number of predictors.
    least_ranks = format_number(min(1.0, predictor_count * ranks), fine=True)
    least_pearson = format_number(min(1.0, predictor_count * pearson), fine=True)
    least = least_ranks
    if least_ranks != least_pearson:
        least = f"{least_ranks} for ranks, {least_pearson} for Pearson's coefficient"
    hint = ""
    if predictor_count * ranks > SIGNIFICANCE_LEVEL:
        hint = "; exploratory, since no rank coefficient can reach .05"
    predictors = count_noun(predictor_count, "predictor")
    return f"With {predictors} the smallest possible corrected p is {least}{hint}."


def _kept_samples_caveat(points: QuestionPoints) -> str:
    """Return the sample counts of the predictor, if recorded.

    An evaluation records them as a metric ``kept_tau_1`` beside ``tau_1``.
    """
    name = f"kept_{points.predictor.metric}"
    counts: list[int] = []
    for point in points.points:
        for group in point.predictor:
            counts += [int(result.metrics[name].low) for result in group if name in result.metrics]
    return f"Computed over {format_range(counts)} samples." if counts else ""


def _influential_point_caveat(result: PredictorResult) -> str:
    """Return the point with the largest influence on Pearson's coefficient, if it is large."""
    value = result.coefficients["Pearson"].value
    labels = [point.label for point in result.points.points]
    # Of few points there is no leave-one-out coefficient, so its tuple is empty and the zip is not
    # strict.
    without_label = [
        (coefficient, label)
        for coefficient, label in zip(result.leave_one_out, labels, strict=False)
        if coefficient is not None
    ]
    if value is None or not without_label:
        return ""
    without, label = max(without_label, key=lambda pair: (abs(pair[0] - value), pair[1]))
    keeps_sign = without * value > 0
    if keeps_sign and abs(without - value) <= INFLUENTIAL_CHANGE:
        return ""
    return f"Without {escape_markdown(label)}, Pearson's coefficient is {format_number(without)}."


AXIS_TEXTS = {
    "source": "from {}",
    "adapter": "via {}",
    "target": "{}",
    "n": "n = {}",
    "transfer": "{}",
}
TITLE_AXES = ("target", "n", "source", "adapter", "transfer")
PANELS_PER_ROW = 4
MAX_LABELS = 6  # given labels written out in one question
MAX_HEADING_PREDICTORS = 3  # predictors written out in a heading


def questions_section(data: RunData) -> tuple[str, list[PageFigure]]:
    """Return the section and its figures; an empty string if the suite has no question.

    Raises:
        BadInput: A question is malformed, or its metric is not in the records.
    """
    answers = answer_questions(data)
    if not answers:
        return "", []
    figures: list[PageFigure] = []
    sections: list[str] = []
    for position, answer in enumerate(answers, start=1):
        figure = _question_figure(answer, name=f"question_{position}.svg")
        if figure is not None:
            figures.append(figure)
        prefix = f"{position}. " if len(answers) > 1 else ""
        sections.append(_answer_section(answer, figure, prefix=prefix))
    return "\n\n".join(["## Questions", *sections, _method_section()]), figures


def _answer_section(answer: QuestionAnswer, figure: PageFigure | None, *, prefix: str) -> str:
    question = answer.question
    verb = "does" if len(answer.predictors) == 1 else "do"
    predictors = _predictor_names(question, written=inline_code)
    outcome = inline_code(answer.outcome.name)
    parts = [
        f"### {prefix}How well {verb} {predictors} predict {outcome} across {question.across}s?"
    ]
    given = [f"{axis} {_labels_text(labels)}" for axis, labels in question.given.items()]
    if given:
        parts.append(f"Given: {'; '.join(given)}.")
    if figure is not None:
        parts.append(f"![{escape_markdown(figure.text)}]({figure.name})\n\n{figure.caption}")
    for scope, results in answer.results.items():
        caveats = coefficient_caveats(results, across=question.across)
        title = escape_markdown(_scope_title(scope))
        parts.append(f"#### {title}\n\n{_coefficient_table(results)}\n\n{caveats}")
    if not answer.results:
        parts.append("No trial is selected.")
    return "\n\n".join(parts)


def _labels_text(labels: Sequence[str | int]) -> str:
    texts: list[str] = []
    for label in labels[:MAX_LABELS]:
        # As code, since a label may contain a comma.
        texts.append(inline_code(label) if isinstance(label, str) else str(label))
    if len(labels) > MAX_LABELS:
        texts.append(f"and {len(labels) - MAX_LABELS} more")
    return ", ".join(texts)


def _predictor_names(question: Question, *, written: Callable[[str], str] = str) -> str:
    """Return the predictors, or their number if a heading would become too long."""
    predictors = question.predictors
    if len(predictors) > MAX_HEADING_PREDICTORS:
        return f"{len(predictors)} metrics"
    return ", ".join(map(written, predictors))


def _scope_title(scope: QuestionScope) -> str:
    """Return the labels of a scope as text: ``digits, n = 20, probe``."""
    labels = dict(scope)
    texts: list[str] = []
    for axis in TITLE_AXES:
        # An axis is missing if the question is across it, and has no label without a source.
        label = labels.get(axis)
        if label is not None:
            texts.append(AXIS_TEXTS[axis].format(label))
    return ", ".join(texts)


def _coefficient_table(results: Sequence[PredictorResult]) -> str:
    header = ["predictor", "points"]
    for name in COEFFICIENTS:
        header += [name, "p", "p corrected"]
    rows: list[list[str]] = []
    for result in results:
        predictor = escape_markdown(result.points.predictor.name)
        point_count = str(len(result.points.points))
        rows.append([predictor, point_count, *_coefficient_cells(result)])
    return markdown_table(header, rows, right=[False] + [True] * (len(header) - 1))


def _coefficient_cells(result: PredictorResult) -> Iterator[str]:
    for name in COEFFICIENTS:
        association = result.coefficients[name]
        if association.value is None:
            yield ABSENT
        else:
            yield f"{format_number(association.value)}{format_interval(association.interval)}"
        yield _format_p(association.p)
        yield _format_p(result.corrected[name])


def _format_p(p: float | None) -> str:
    if p is None:
        return ABSENT
    # Three decimals would show a smaller p as .000, which no permutation test can give.
    return "<.001" if p < 0.0005 else format_number(p)


def _question_figure(answer: QuestionAnswer, *, name: str) -> PageFigure | None:
    """Return a scatter plot with a panel for each scope and predictor, None without any point."""
    rows: list[list[ScatterPanel]] = []
    for scope, results in answer.results.items():
        panels = [_scatter_panel(result, scope) for result in results]
        for start in range(0, len(panels), PANELS_PER_ROW):
            rows.append(panels[start : start + PANELS_PER_ROW])
    if not any(panel.points for row in rows for panel in row):
        return None
    outcome = answer.outcome.name
    text = f"{outcome} against {_predictor_names(answer.question)}"
    per_reference = ""
    if _has_several_references(answer.results):
        per_reference = " (one per reference model, where there are several)"
    return PageFigure(
        name=name,
        svg=draw_scatter(rows, y=outcome, title=text),
        text=text,
        caption=f"One point per {answer.question.across}: the mean over its trials{per_reference}.",
    )


def _has_several_references(results: Mapping[QuestionScope, Sequence[PredictorResult]]) -> bool:
    reference_counts: list[int] = []
    for scope_results in results.values():
        reference_counts += [result.points.reference_count for result in scope_results]
    return max(reference_counts, default=1) > 1


def _scatter_panel(result: PredictorResult, scope: QuestionScope) -> ScatterPanel:
    points = result.points
    title = _scope_title(scope)
    if not points.points:
        return ScatterPanel(title, points.predictor.name, ())
    predictor, outcome = points.value_arrays
    positions_by_label = []
    for index, point in enumerate(points.points):
        xs = predictor[:, index].tolist()
        ys = outcome[:, index].tolist()
        positions_by_label.append((point.label, tuple(zip(xs, ys, strict=True))))
    return ScatterPanel(title, points.predictor.name, tuple(positions_by_label))


def _method_section() -> str:
    """Return the list that explains intervals, p values and points."""
    items = [
        f"Brackets: 95 % percentile bootstrap interval over {BOOTSTRAP_RESAMPLES:,} resamples of "
        "the points. Shares of and means over test images are also resampled over images, with "
        "one resample for all points of a test part. Points in perfect order stay so in every "
        "resample of points, so an interval of their ranks has no width unless images change "
        "their order. Quantities without per-image values are held at their measured value in "
        "every resample.",
        f"p: two-sided permutation test over all orders or {RANDOM_ORDERS:,} random ones. p "
        "corrected: by Holm (1979) for the number of predictors of the question.",
        "Both assume independent points. Sources that were made from one another, or that share "
        "a training run, are not independent: they carry less information than their number "
        "suggests.",
        "A point is the mean over subset seeds and, across sources, over the replicates of a "
        "source. Unknown outcomes count as broken. Suspicious and invalid results give no point.",
    ]
    return "\n".join(f"- {item}" for item in items)
