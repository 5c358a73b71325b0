"""The page section on the suite's questions: coefficient tables and scatter plots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from advtransfer.leaderboard.figure_texts import panels_text
from advtransfer.leaderboard.figures import PageFigure
from advtransfer.leaderboard.markdown import (
    escape_markdown,
    format_interval,
    format_number,
    format_p,
    inline_code,
    link_text,
    markdown_table,
)
from advtransfer.leaderboard.points_plot import ScatterPanel, scatter_figure
from advtransfer.leaderboard.questions_caveats import coefficient_caveats
from advtransfer.leaderboard.questions_coefficients import (
    PredictorResult,
    QuestionAnswer,
)
from advtransfer.leaderboard.questions_config import Question
from advtransfer.leaderboard.questions_controls import ScopeControls
from advtransfer.leaderboard.questions_points import QuestionScope
from advtransfer.leaderboard.scatter import panel_rows, scatter_panel, scope_title
from advtransfer.statistics import COEFFICIENTS, Association
from advtransfer.statistics.correlation import (
    BOOTSTRAP_RESAMPLES,
    MIN_POINTS,
    MIN_POINTS_TO_RESAMPLE,
    RANDOM_ORDERS,
)
from advtransfer.text import ABSENT
from advtransfer.toolkit.plot_style import render_figure

EXPLORATORY_NOTE = (
    "Exploratory: asked after looking at results, so no p is printed. Its predictors count where p "
    "values of other questions about these points are corrected."
)
MAX_LABELS = 6  # given labels written out in one question
MAX_HEADING_PREDICTORS = 3  # predictors written out in a heading


def questions_section(answers: Sequence[QuestionAnswer]) -> tuple[str, list[PageFigure]]:
    """Return the section and its figures; an empty string if the suite has no question."""
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
        parts.append(f"Restricted to: {'; '.join(given)}.")
    if question.note:
        parts.append(escape_markdown(question.note))
    if question.exploratory:
        parts.append(EXPLORATORY_NOTE)
    if figure is not None:
        parts.append(f"![{link_text(figure.text)}]({figure.name})\n\n{figure.caption}")
    for scope, results in answer.results.items():
        caveats = coefficient_caveats(results, across=question.across)
        title = escape_markdown(scope_title(scope))
        table = _coefficient_table(results, answer.controls[scope])
        parts.append(f"#### {title}\n\n{table}\n\n{caveats}")
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


def _coefficient_table(results: Sequence[PredictorResult], controls: ScopeControls) -> str:
    header = ["predictor", "points"]
    for name in COEFFICIENTS:
        header += [name, "p", "p corrected"]
    rows: list[list[str]] = []
    for result in results:
        predictor = escape_markdown(result.points.predictor.name)
        point_count = str(len(result.points.points))
        rows.append([predictor, point_count, *_coefficient_cells(result)])
    shows_p = any(result.coefficients["Spearman"].p is not None for result in results)
    rows += _control_rows(controls, shows_bound=shows_p)
    return markdown_table(header, rows, right=[False] + [True] * (len(header) - 1))


def _control_rows(controls: ScopeControls, *, shows_bound: bool) -> Iterator[list[str]]:
    """Yield the rows of the controls, which have no p.

    `shows_bound` adds to the random ranking what 95 % of all orders stay within, which amounts to a
    test; a table without p has none.
    """
    for control in controls.static:
        row = [f"control: {control.name}", str(control.point_count)]
        for name in COEFFICIENTS:
            row += [_association_text(control.coefficients[name]), ABSENT, ABSENT]
        yield row
    if controls.chance:
        row = ["control: random ranking", str(controls.point_count)]
        for name in COEFFICIENTS:
            level = controls.chance.get(name)
            text = ABSENT if level is None else f"±{format_number(level.mean)}"
            if level is not None and shows_bound:
                text += f" (95 %: ±{format_number(level.bound)})"
            row += [text, ABSENT, ABSENT]
        yield row


def _association_text(association: Association) -> str:
    if association.value is None:
        return ABSENT
    return f"{format_number(association.value)}{format_interval(association.interval)}"


def _coefficient_cells(result: PredictorResult) -> Iterator[str]:
    for name in COEFFICIENTS:
        association = result.coefficients[name]
        yield _association_text(association)
        yield format_p(association.p)
        yield format_p(result.corrected[name])


def _question_figure(answer: QuestionAnswer, *, name: str) -> PageFigure | None:
    """Return a scatter plot with a panel for each scope and predictor, None without any point."""
    rows: list[list[ScatterPanel]] = []
    for scope, results in answer.results.items():
        rows += panel_rows([scatter_panel(result.points, scope) for result in results])
    if not any(panel.points for row in rows for panel in row):
        return None
    outcome = answer.outcome.name
    title = f"{outcome} against {_predictor_names(answer.question)}"
    text = f"{title}: {panels_text([panel for row in rows for panel in row])}"
    per_reference = ""
    if _has_several_references(answer.results):
        per_reference = " (one per reference model, where there are several)"
    return PageFigure(
        name=name,
        draw=partial(
            render_figure,
            partial(scatter_figure, rows, y=outcome),
            title=title,
            description=text,
        ),
        text=text,
        caption=f"One point per {answer.question.across}: the mean over its trials{per_reference}.",
    )


def _has_several_references(results: Mapping[QuestionScope, Sequence[PredictorResult]]) -> bool:
    reference_counts: list[int] = []
    for scope_results in results.values():
        reference_counts += [result.points.reference_count for result in scope_results]
    return max(reference_counts, default=1) > 1


def _method_section() -> str:
    """Return the list that explains intervals, p values and points."""
    items = [
        f"Brackets: 95 % percentile bootstrap interval over {BOOTSTRAP_RESAMPLES:,} resamples of "
        f"the points, where there are {MIN_POINTS_TO_RESAMPLE} or more. Shares of and means over "
        "test images are also resampled over images, with one resample for all points of a test "
        "part. Points in perfect order stay so in every resample of points, so an interval of "
        "their ranks has no width unless images change their order. Quantities without per-image "
        "values are held at their measured value in every resample.",
        f"p: two-sided permutation test over all orders or {RANDOM_ORDERS:,} random ones. p "
        "corrected: by Holm (1979) for the number of predictors that the suite asks of one outcome "
        "over the same points, in one question or several, exploratory ones included.",
        "Both assume independent points. Sources that were made from one another are not: there is "
        f"no p where the points descend from fewer than {MIN_POINTS} sources. Sources that share "
        "training data carry less information than their number suggests.",
        "Controls need no estimator, and no p: what is known of a source before any transfer, and "
        "a random ranking in equal steps: the mean size of its coefficient, and the size that 95 % "
        "of all orders stay within.",
        "A point is the mean over subset seeds and, across sources, over the replicates of a "
        "source. Unknown outcomes count as broken. Suspicious and invalid results give no point.",
    ]
    return "\n".join(f"- {item}" for item in items)
