"""Figures of differences to a baseline: over labelled images n with a band, and below the metric over epochs.

They are Figures 2b, 3, 4b and 10b of Utrera et al. (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from advtransfer.leaderboard.baselines import baseline_label
from advtransfer.leaderboard.curve_panels import curve_panels, omission_note, panel_labels
from advtransfer.leaderboard.curve_series import SeriesGroup, series_over_n
from advtransfer.leaderboard.curves_plot import CurvePanel, curves_figure
from advtransfer.leaderboard.difference_series import difference_groups
from advtransfer.leaderboard.figure_inputs import axis_label, figure_error, metric_column, run_of
from advtransfer.leaderboard.figure_kinds.curves import (
    EPOCH_AXIS,
    N_AXIS,
    CurveAxis,
    check_curves,
    check_epochs,
    curve_layout,
    epoch_series,
    epoch_texts,
)
from advtransfer.leaderboard.figure_texts import curves_text
from advtransfer.leaderboard.markdown import escape_markdown, inline_code
from advtransfer.types import Drawing, FigureInputs, FigureKind, Json

MAX_GROUPS = 6
"""Targets and n of a figure over epochs, each with a row of panels for the metric and one for its difference."""
BAND_NOTE = (
    "mean difference with its 95 % interval as a band, paired by training, seed and image as in the tables; "
    "each interval has 95 % confidence for itself alone"
)


def _draw_over_n(inputs: FigureInputs) -> Drawing | None:
    data = run_of(inputs)
    column = metric_column(inputs)
    groups = difference_groups(list(series_over_n(column, data)), _baseline(inputs), data)
    layout = replace(curve_layout(inputs), is_difference=True)
    y = f"Δ {axis_label(column, data)}"
    return _drawing(curve_panels(groups, layout=layout), groups, inputs, N_AXIS, column.name, y)


def _draw_over_epochs(inputs: FigureInputs) -> Drawing | None:
    data = run_of(inputs)
    name, y, _ = epoch_texts(inputs)
    all_groups = epoch_series(inputs)
    groups = all_groups[:MAX_GROUPS]
    differences = difference_groups(groups, _baseline(inputs), data)
    if not any(group.series for group in differences):
        return None
    layout = replace(curve_layout(inputs), y=y)
    labels = panel_labels(groups, layout)
    below = replace(layout, y=f"Δ {y}", is_difference=True)
    rows: list[list[CurvePanel]] = []
    for above, difference in zip(groups, differences, strict=True):
        rows += curve_panels([above], layout=layout, labels=labels)
        rows += curve_panels([difference], layout=below, labels=labels)
    both = [*groups, *differences]
    drawing = _drawing(rows, both, inputs, EPOCH_AXIS, name, y)
    if drawing is None or len(groups) == len(all_groups):
        return drawing
    note = f" Drawn: {len(groups)} of {len(all_groups)} targets and n."
    return replace(drawing, caption=drawing.caption + note)


def _drawing(
    rows: Sequence[Sequence[CurvePanel]],
    groups: Sequence[SeriesGroup],
    inputs: FigureInputs,
    axis: CurveAxis,
    name: str,
    y: str,
) -> Drawing | None:
    """Return the drawing of panels, None without any curve."""
    panels = [panel for row in rows for panel in row]
    if not any(panel.curves for panel in panels):
        return None
    baseline = baseline_label(_baseline(inputs))
    title = f"{name}, difference to {baseline}, against {axis.short}"
    text = f"{title}: {curves_text(panels, axis=axis.short)}"
    caption = (
        f"{inline_code(name)}, difference to {escape_markdown(baseline)}, against {axis.words}: "
        f"{BAND_NOTE}.{omission_note(groups, panels)}"
    )
    return Drawing(
        f"{name} to {baseline}",
        partial(curves_figure, rows, x=axis.label, y=y),
        text=text,
        caption=caption,
        title=title,
    )


def _baseline(inputs: FigureInputs) -> Json:
    """Return what the figure compares with: its own ``against``, or the suite's baseline."""
    return inputs.settings.get("against") or run_of(inputs).plan.leaderboard.get("baseline")


def _check(inputs: FigureInputs) -> None:
    check_curves(inputs)
    if _baseline(inputs) is None:
        raise figure_error(inputs.settings, "`against`, or a `baseline` of the suite")


def _check_epochs(inputs: FigureInputs) -> None:
    _check(inputs)
    check_epochs(inputs)


DELTA_VS_N = FigureKind(
    "delta_vs_n",
    _draw_over_n,
    required={"metric": "metric"},
    optional={"against": "baseline", "curves": "axis"},
    check=_check,
    help="The difference of a metric to a baseline over the labelled images n, with its band.",
)
DELTA_VS_EPOCH = FigureKind(
    "delta_vs_epoch",
    _draw_over_epochs,
    optional={"metric": "metric", "curve": "curve", "against": "baseline", "curves": "axis"},
    either=("metric", "curve"),
    check=_check_epochs,
    help="A metric against the epoch, and below it its difference to a baseline.",
)
