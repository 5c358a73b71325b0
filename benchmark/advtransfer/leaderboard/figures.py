"""The figures that a suite requests, by kind (see `advtransfer.suite.figure_settings`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.curve_series import (
    SeriesGroup,
    SeriesPoint,
    epoch_columns,
    eps_columns,
    series_over_epochs,
    series_over_eps,
    series_over_n,
)
from advtransfer.leaderboard.figure_texts import curves_text, panels_text
from advtransfer.leaderboard.markdown import count_noun, inline_code
from advtransfer.leaderboard.pareto import AccuracyPair
from advtransfer.leaderboard.pareto_figure import front_panels, omission_note
from advtransfer.leaderboard.plots import (
    Curve,
    CurvePanel,
    CurvePoint,
    FigureText,
    ScatterPanel,
    draw_curves,
    draw_scatter,
)
from advtransfer.leaderboard.questions_config import Question, read_questions
from advtransfer.leaderboard.questions_points import collect_points, trials_by_scope
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.scatter import PANELS_PER_ROW, panel_rows, scatter_panel
from advtransfer.leaderboard.table_rows import Column, find_column
from advtransfer.suite.figure_settings import FIGURE_KINDS, MIN_RADII

MAX_CURVES = 12
"""Labels of a figure of curves; a legend of more is not read."""
MAX_PANELS = 16
"""Panels of a figure of curves."""
CURVE_AXES = {
    "accuracy_vs_n": ("labelled target images n", "n", "the number of labelled target images"),
    "metric_vs_eps": ("radius eps", "eps", "the radius eps of the attack"),
    "metric_vs_epoch": ("epoch", "epoch", "the epoch of the training"),
}
"""For each kind of curves the label of its x axis, the axis in alternative texts, and in the caption."""
INTERVAL_NOTE = (
    "mean and 95 % interval. Filled markers: the interval is over subset seeds (over source "
    "trainings where a source has replicates) and test images; hollow: over test images alone."
)
TRAINING_NOTE = (
    "mean and 95 % t-interval over source trainings, or over subset seeds of one training; as the training "
    "itself recorded it, on training or held-out images."
)
LINE_NOTE = (
    "the least-squares line of the points and the 95 % band of its mean, where there are three or more. "
    "The band takes the points as independent, which sources made from one another are not."
)
FRONT_NOTE = (
    "mean and 95 % intervals. Dashed: the front, which no other row beats in both; hollow: rows that are not ranked "
    "on it (no battery, suspicious, incomplete, or a fit that did not learn)."
)


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure of the page.

    Attributes:
        name: File name.
        draw: Draws the content of the file in a format of matplotlib, by default as SVG.
        text: Alternative text, which states what the figure shows.
        caption: Caption in markdown.
    """

    name: str
    draw: Callable[..., bytes]
    text: str
    caption: str


@dataclass(frozen=True, slots=True)
class FigureRequest:
    """A figure of a suite.

    Attributes:
        kind: A kind of `FIGURE_KINDS`.
        name: What it shows: its metric, or two of them.
        columns: Its columns; over eps and epochs those of all radii and snapshots.
        radii: The radius of each column over eps.
        curve: The column of training curves that stands in place of a metric.
        question: Axis and selection of a scatter.
    """

    kind: str
    name: str
    columns: tuple[Column, ...] = ()
    radii: tuple[float, ...] = ()
    curve: str | None = None
    question: Question | None = None


def requested_figures(data: RunData) -> list[PageFigure]:
    """Return the figures that the suite requests, without those that have no number to show.

    Raises:
        BadInput: A figure's kind or metric is unknown.
    """
    figures: dict[str, PageFigure] = {}
    for request in figure_requests(data):
        figure = _make_figure(request, data)
        if figure is not None:
            figures.setdefault(figure.name, figure)
    return list(figures.values())


def figure_requests(data: RunData) -> list[FigureRequest]:
    """Return what the suite requests.

    Raises:
        BadInput: A figure's kind or metric is unknown.
    """
    entries = data.plan.leaderboard.get("figures")
    if not isinstance(entries, list | tuple):
        return []
    return [parse_figure(entry, data) for entry in entries]


def parse_figure(entry: object, data: RunData) -> FigureRequest:
    """Return a figure as a plan stores it, with its columns.

    Raises:
        BadInput: Its kind or metric is unknown.
    """
    settings = entry if isinstance(entry, Mapping) else {}
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in FIGURE_KINDS:
        raise _figure_error(entry, f"a kind of {', '.join(FIGURE_KINDS)}, and its metrics")
    curve = settings.get("curve")
    if kind == "metric_vs_epoch" and isinstance(curve, str):
        _require_curve(curve, entry, data)
        return FigureRequest(kind, curve, curve=curve)
    names = [settings.get(key) for key in FIGURE_KINDS[kind]]
    if not all(isinstance(name, str) and name for name in names):
        raise _figure_error(
            entry, f"{', '.join(FIGURE_KINDS[kind])}, each a metric as in `columns`"
        )
    if kind == "metric_vs_eps":
        return _eps_request(str(names[0]), entry, data)
    columns = tuple(find_column(str(name), data) for name in names)
    name = " against ".join(column.name for column in reversed(columns))
    if kind == "robust_vs_clean":
        name = " against ".join(column.name for column in columns)
    if kind == "metric_vs_epoch":
        return _epoch_request(columns[0], entry, data)
    if kind == "scatter":
        asked = {"across": "source", **{key: value for key, value in settings.items() if value}}
        (question,) = read_questions({"questions": [asked]})
        return FigureRequest(kind, name, columns, question=question)
    return FigureRequest(kind, name, columns)


def _eps_request(name: str, entry: object, data: RunData) -> FigureRequest:
    by_eps = eps_columns(name, data)
    if len(by_eps) >= MIN_RADII:
        return FigureRequest("metric_vs_eps", name, tuple(by_eps.values()), tuple(by_eps))
    column = find_column(name, data)
    if column.metric is not None:
        raise _figure_error(
            entry, f"a metric recorded at {MIN_RADII} radii or more, without its eps"
        )
    return FigureRequest("metric_vs_eps", name)


def _epoch_request(column: Column, entry: object, data: RunData) -> FigureRequest:
    columns = epoch_columns(column, data)
    if column.metric is not None and len(columns) == 1:
        expected = "a metric with snapshots (`snapshots: [10, 20]` of a transfer), or `curve`"
        raise _figure_error(entry, expected)
    return FigureRequest("metric_vs_epoch", column.name, tuple(columns))


def _require_curve(curve: str, entry: object, data: RunData) -> None:
    """Raise where fits were trained and none recorded the column."""
    columns = {name for curves in data.curves.values() for name in curves.columns}
    if data.curves and curve not in columns:
        raise _figure_error(entry, "a column of the fits' training curves")


def _figure_error(entry: object, expected: str) -> BadInput:
    found = f"leaderboard figure {entry!r}"
    return BadInput([Problem(found, expected, "correct it in the suite and run it again")])


def _make_figure(request: FigureRequest, data: RunData) -> PageFigure | None:
    """Return the figure of a request, None without a number to show."""
    if request.kind in CURVE_AXES:
        return _curve_figure(request, data)
    panels: list[ScatterPanel]
    if request.kind == "robust_vs_clean":
        pair = AccuracyPair(clean=request.columns[1], robust=request.columns[0])
        panels = front_panels(data, pair)
        note = FRONT_NOTE + omission_note(panels)
    else:
        panels = _scatter_panels(request, data)
        across = "source" if request.question is None else request.question.across
        note = f"one point per {across}, and {LINE_NOTE}"
    if not any(panel.points for panel in panels):
        return None
    y = request.columns[0 if request.kind == "robust_vs_clean" else 1]
    text = f"{request.name}: {panels_text(panels)}"
    figure_text = FigureText(request.name, "", _axis_label(y, data), text)
    draw = partial(draw_scatter, panel_rows(panels), figure_text)
    caption = f"{' against '.join(map(inline_code, request.name.split(' against ')))}: {note}"
    return PageFigure(_file_name(request), draw, text, caption)


def _scatter_panels(request: FigureRequest, data: RunData) -> list[ScatterPanel]:
    """Return a panel for each scope of the figure's question."""
    if request.question is None:
        return []
    predictor, outcome = request.columns
    panels: list[ScatterPanel] = []
    for scope, labelled in trials_by_scope(request.question, data.plan).items():
        points = collect_points(
            request.question, labelled, predictor=predictor, outcome=outcome, data=data
        )
        panels.append(scatter_panel(points, scope, has_line=True))
    return panels


def _curve_figure(request: FigureRequest, data: RunData) -> PageFigure | None:
    groups = request_series(request, data)
    baseline = data.plan.leaderboard.get("baseline")
    rows = curve_panels(groups, baseline=baseline if isinstance(baseline, str) else None)
    panels = [panel for row in rows for panel in row]
    if not any(panel.curves for panel in panels):
        return None
    axis_label, axis, axis_words = CURVE_AXES[request.kind]
    title = f"{request.name} against {axis}"
    text = f"{title}: {curves_text(panels, axis=axis)}"
    y = request.curve or _axis_label(request.columns[-1], data, name=request.name)
    note = TRAINING_NOTE if request.curve else INTERVAL_NOTE
    caption = (
        f"{inline_code(request.name)} against {axis_words}: {note}{_omission_note(groups, panels)}"
    )
    draw = partial(draw_curves, rows, FigureText(title, axis_label, y, text))
    return PageFigure(_file_name(request), draw, text, caption)


def request_series(request: FigureRequest, data: RunData) -> list[SeriesGroup]:
    """Return the series that a figure of curves shows."""
    if request.kind == "accuracy_vs_n":
        return list(series_over_n(request.columns[0], data))
    if request.kind == "metric_vs_eps":
        return series_over_eps(dict(zip(request.radii, request.columns, strict=True)), data)
    return series_over_epochs(request.columns, request.curve, data)


def curve_panels(
    groups: Sequence[SeriesGroup], *, baseline: str | None = None
) -> list[list[CurvePanel]]:
    """Return panels of series: one row per group, one panel per transfer, and one curve per source.

    The groups of a single transfer stand in one row where they are few. Of many sources those with the highest
    values at the end are drawn, and the baseline.
    """
    transfers = sorted({series.row.transfer for group in groups for series in group.series})
    labels = drawn_labels(groups, baseline=baseline)
    rows = [
        [_curve_panel(group, transfer, labels) for transfer in transfers[:MAX_PANELS]]
        for group in groups[: max(1, MAX_PANELS // max(1, len(transfers)))]
    ]
    if len(transfers) == 1 and len(groups) <= PANELS_PER_ROW:
        return [[panel for row in rows for panel in row]]
    return rows


def drawn_labels(groups: Sequence[SeriesGroup], *, baseline: str | None) -> set[str]:
    """Return the labels of the curves that are drawn."""
    highest: dict[str, float] = {}
    for group in groups:
        for series in group.series:
            values = [metric.low for metric in series.points[-1].metrics.values()]
            label = series.row.label
            highest[label] = max(highest.get(label, -inf), sum(values) / len(values))
            if series.row.source is not None and series.row.source == baseline:
                highest[label] = inf
    return set(sorted(highest, key=lambda label: (-highest[label], label))[:MAX_CURVES])


def _curve_panel(group: SeriesGroup, transfer: str, labels: Collection[str]) -> CurvePanel:
    curves: dict[str, Curve] = {}
    for series in group.series:
        if series.row.transfer == transfer and series.row.label in labels:
            points = tuple(map(_curve_point, series.points))
            curves[series.row.label] = Curve(series.row.label, points)
    ordered = tuple(curves[label] for label in sorted(curves))
    return CurvePanel(f"{group.title}, {transfer}", ordered, group.ticks, group.scale)


def _omission_note(groups: Sequence[SeriesGroup], panels: Sequence[CurvePanel]) -> str:
    """Return a sentence on the curves that a figure leaves out, empty if it draws all."""
    total = sum(len(group.series) for group in groups)
    drawn = sum(len(panel.curves) for panel in panels)
    if drawn == total:
        return ""
    return f" Drawn: {drawn} of {count_noun(total, 'curve')}, those that end highest and the baseline's."


def _curve_point(point: SeriesPoint) -> CurvePoint:
    aggregate = point.aggregate()
    # Unknown outcomes leave a range, of which the curve shows the middle.
    return CurvePoint(
        point.x,
        y=(aggregate.low + aggregate.high) / 2,
        interval=aggregate.interval or (aggregate.low, aggregate.high),
        is_hollow=aggregate.basis in ("deterministic", "single"),
    )


def _file_name(request: FigureRequest) -> str:
    # Column names hold characters such as @ and /, which have a meaning in paths and links.
    stem = re.sub(r"[^A-Za-z0-9.]+", "_", f"{request.kind}_{request.name}").strip("_.")
    return f"{stem}.svg"


def _axis_label(column: Column, data: RunData, *, name: str | None = None) -> str:
    """Return the label of the y axis with its unit."""
    text = name or column.name
    for trial in data.plan.trials:
        metric = column.metric_of(trial, data)
        if metric is not None:
            return f"{text}\n(share of test images)" if metric.is_share else text
    return text
