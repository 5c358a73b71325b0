"""Figures of points: robust against clean accuracy with its front, and scatters with their line."""

from __future__ import annotations

from functools import partial

from advtransfer.leaderboard.figure_inputs import axis_label, metric_column, run_of
from advtransfer.leaderboard.figure_texts import panels_text
from advtransfer.leaderboard.markdown import inline_code
from advtransfer.leaderboard.pareto import AccuracyPair
from advtransfer.leaderboard.pareto_figure import front_panels, omission_note
from advtransfer.leaderboard.points_plot import ScatterPanel, scatter_figure
from advtransfer.leaderboard.questions_config import Question, read_questions
from advtransfer.leaderboard.questions_points import collect_points, trials_by_scope
from advtransfer.leaderboard.scatter import panel_rows, scatter_panel
from advtransfer.leaderboard.table_rows import Column
from advtransfer.types import Drawing, FigureInputs, FigureKind

LINE_NOTE = (
    "the least-squares line of the points and the 95 % band of its mean, where there are three or more. "
    "The band takes the points as independent, which sources made from one another are not."
)
FRONT_NOTE = (
    "mean and 95 % intervals. Dashed: the front, which no other row beats in both; hollow: rows that are not ranked "
    "on it (no battery, suspicious, incomplete, or a fit that did not learn)."
)


def accuracy_pair(inputs: FigureInputs) -> AccuracyPair:
    """Return the accuracies of a figure ``robust_vs_clean``.

    Raises:
        BadInput: No record has such a metric, or several match.
    """
    return AccuracyPair(
        clean=metric_column(inputs, "clean"), robust=metric_column(inputs, "robust")
    )


def _draw_front(inputs: FigureInputs) -> Drawing | None:
    pair = accuracy_pair(inputs)
    panels = front_panels(run_of(inputs), pair)
    note = FRONT_NOTE + omission_note(panels)
    names = (pair.robust.name, pair.clean.name)
    return _points_drawing(panels, names, pair.robust, note, inputs)


def _draw_scatter(inputs: FigureInputs) -> Drawing | None:
    data = run_of(inputs)
    question = _question(inputs)
    predictor, outcome = metric_column(inputs, "predictor"), metric_column(inputs, "outcome")
    panels: list[ScatterPanel] = []
    for scope, labelled in trials_by_scope(question, data.plan).items():
        points = collect_points(question, labelled, predictor=predictor, outcome=outcome, data=data)
        panels.append(scatter_panel(points, scope, has_line=True))
    note = f"one point per {question.across}, and {LINE_NOTE}"
    return _points_drawing(panels, (outcome.name, predictor.name), outcome, note, inputs)


def _points_drawing(
    panels: list[ScatterPanel],
    names: tuple[str, str],
    y: Column,
    note: str,
    inputs: FigureInputs,
) -> Drawing | None:
    """Return the drawing of panels, None without any point; `names` are those of y and x."""
    if not any(panel.points for panel in panels):
        return None
    name = " against ".join(names)
    return Drawing(
        name,
        partial(scatter_figure, panel_rows(panels), y=axis_label(y, run_of(inputs))),
        text=f"{name}: {panels_text(panels)}",
        caption=f"{' against '.join(map(inline_code, names))}: {note}",
    )


def _question(inputs: FigureInputs) -> Question:
    """Return the figure as a question.

    Raises:
        BadInput: It names an unknown axis.
    """
    settings = {key: value for key, value in inputs.settings.items() if value}
    (question,) = read_questions({"questions": [{"across": "source", **settings}]})
    return question


def _check_scatter(inputs: FigureInputs) -> None:
    _question(inputs)


ROBUST_VS_CLEAN = FigureKind(
    "robust_vs_clean",
    _draw_front,
    required={"robust": "robust_metric", "clean": "plain_metric"},
    help="Each row's robust against its clean accuracy, with the Pareto front of each source.",
)
SCATTER = FigureKind(
    "scatter",
    _draw_scatter,
    required={"predictor": "metric", "outcome": "metric"},
    optional={"across": "axis", "given": "selection"},
    check=_check_scatter,
    help="A point for each label on an axis, the least-squares line, and the 95 % band of its mean.",
)
