"""Figures of a metric over labelled images n, the radius eps, or the epochs of a training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from advtransfer.leaderboard.curve_panels import CurveLayout, curve_panels, omission_note
from advtransfer.leaderboard.curve_series import (
    SeriesGroup,
    epoch_columns,
    eps_columns,
    series_over_epochs,
    series_over_eps,
    series_over_n,
)
from advtransfer.leaderboard.curves_plot import curves_figure
from advtransfer.leaderboard.figure_inputs import axis_label, figure_error, metric_column, run_of
from advtransfer.leaderboard.figure_texts import curves_text
from advtransfer.leaderboard.markdown import inline_code
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import Column, find_column
from advtransfer.suite.figure_settings import MIN_RADII
from advtransfer.types import Drawing, FigureInputs, FigureKind

INTERVAL_NOTE = (
    "mean and 95 % interval. Filled markers: the interval is over subset seeds (over source "
    "trainings where a source has replicates) and test images; hollow: over test images alone."
)
TRAINING_NOTE = (
    "mean and 95 % t-interval over source trainings, or over subset seeds of one training; as the training "
    "itself recorded it, on training or held-out images."
)


class CurveAxis(NamedTuple):
    """The x axis of a figure of curves.

    Attributes:
        label: Label of the axis.
        short: Name of the axis in titles and alternative texts.
        words: Name of the axis in captions.
    """

    label: str
    short: str
    words: str


N_AXIS = CurveAxis("labelled target images n", "n", "the number of labelled target images")
EPS_AXIS = CurveAxis("radius eps", "eps", "the radius eps of the attack")
CURVE_AXES = ("source", "transfer")
"""What a curve may stand for: a source (with its adapter) in a panel of one transfer, or the reverse."""
EPOCH_AXIS = CurveAxis("epoch", "epoch", "the epoch of the training")


def _draw_over_n(inputs: FigureInputs) -> Drawing | None:
    column = metric_column(inputs)
    data = run_of(inputs)
    groups = list(series_over_n(column, data))
    return curves_drawing(groups, inputs, N_AXIS, name=column.name, y=axis_label(column, data))


def _draw_over_eps(inputs: FigureInputs) -> Drawing | None:
    data = run_of(inputs)
    name = str(inputs.settings["metric"])
    columns = eps_columns(name, data)
    if not columns:
        return None
    y = axis_label(list(columns.values())[-1], data, name=name)
    return curves_drawing(series_over_eps(columns, data), inputs, EPS_AXIS, name=name, y=y)


def _draw_over_epochs(inputs: FigureInputs) -> Drawing | None:
    name, y, note = epoch_texts(inputs)
    return curves_drawing(epoch_series(inputs), inputs, EPOCH_AXIS, name=name, y=y, note=note)


def epoch_texts(inputs: FigureInputs) -> tuple[str, str, str]:
    """Return name, axis label and note on intervals of a figure over epochs."""
    curve = inputs.settings.get("curve")
    if isinstance(curve, str):
        return curve, curve, TRAINING_NOTE
    column = metric_column(inputs)
    return column.name, axis_label(column, run_of(inputs)), INTERVAL_NOTE


def epoch_series(inputs: FigureInputs) -> list[SeriesGroup]:
    """Return the series of a figure over epochs."""
    data = run_of(inputs)
    curve = inputs.settings.get("curve")
    if isinstance(curve, str):
        return series_over_epochs((), curve, data)
    return series_over_epochs(epoch_columns(metric_column(inputs), data), None, data)


def curves_drawing(
    groups: Sequence[SeriesGroup],
    inputs: FigureInputs,
    axis: CurveAxis,
    *,
    name: str,
    y: str,
    note: str = INTERVAL_NOTE,
) -> Drawing | None:
    """Return the drawing of series over an axis, None without any curve."""
    baseline = run_of(inputs).plan.leaderboard.get("baseline")
    layout = curve_layout(inputs)
    rows = curve_panels(
        groups, baseline=baseline if isinstance(baseline, str) else None, layout=layout
    )
    panels = [panel for row in rows for panel in row]
    if not any(panel.curves for panel in panels):
        return None
    title = f"{name} against {axis.short}"
    text = f"{title}: {curves_text(panels, axis=axis.short)}"
    return Drawing(
        name,
        partial(curves_figure, rows, x=axis.label, y=y),
        text=text,
        caption=f"{inline_code(name)} against {axis.words}: {note}{omission_note(groups, panels)}",
        title=title,
    )


def curve_layout(inputs: FigureInputs) -> CurveLayout:
    """Return the layout that the key ``curves`` asks for."""
    return CurveLayout(by_transfer=inputs.settings.get("curves") == "transfer")


def check_curves(inputs: FigureInputs) -> None:
    """Raise where ``curves`` is an axis that no curve can stand for."""
    curves = inputs.settings.get("curves")
    if curves not in (None, *CURVE_AXES):
        raise figure_error(inputs.settings, f"curves: one of {', '.join(CURVE_AXES)}")


def _check_eps(inputs: FigureInputs) -> None:
    """Raise where the metric was recorded at too few radii."""
    name = str(inputs.settings["metric"])
    data = run_of(inputs)
    # Without any result of the evaluation, nothing is known of its radii.
    if len(eps_columns(name, data)) < MIN_RADII and _is_recorded(name, data):
        raise figure_error(
            inputs.settings, f"a metric recorded at {MIN_RADII} radii or more, without its eps"
        )


def _is_recorded(name: str, data: RunData) -> bool:
    return find_column(name, data).metric is not None


def check_epochs(inputs: FigureInputs) -> None:
    """Raise where the records have no value at an earlier epoch, or no such curve."""
    data = run_of(inputs)
    curve = inputs.settings.get("curve")
    if isinstance(curve, str):
        columns = {name for curves in data.curves.values() for name in curves.columns}
        if data.curves and curve not in columns:
            raise figure_error(inputs.settings, "a column of the fits' training curves")
        return
    column: Column = metric_column(inputs)
    if column.metric is not None and len(epoch_columns(column, data)) == 1:
        expected = "a metric with snapshots (`snapshots: [10, 20]` of a transfer), or `curve`"
        raise figure_error(inputs.settings, expected)


ACCURACY_VS_N = FigureKind(
    "accuracy_vs_n",
    _draw_over_n,
    required={"metric": "metric"},
    optional={"curves": "axis"},
    check=check_curves,
    help="A metric over the labelled images n, on a logarithmic axis.",
)
METRIC_VS_EPS = FigureKind(
    "metric_vs_eps",
    _draw_over_eps,
    required={"metric": "metric_at_all_eps"},
    check=_check_eps,
    help="A metric that one evaluation measured at two radii or more.",
)
METRIC_VS_EPOCH = FigureKind(
    "metric_vs_epoch",
    _draw_over_epochs,
    optional={"metric": "metric", "curve": "curve"},
    either=("metric", "curve"),
    check=check_epochs,
    help="A metric at the epochs of its snapshots, or a column of the fits' training curves.",
)
