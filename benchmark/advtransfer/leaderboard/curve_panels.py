"""Panels of the series that a figure of curves shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf

from advtransfer.leaderboard.curve_series import SeriesGroup, SeriesPoint
from advtransfer.leaderboard.curves_plot import Curve, CurvePanel, CurvePoint
from advtransfer.leaderboard.markdown import count_noun
from advtransfer.leaderboard.scatter import PANELS_PER_ROW
from advtransfer.leaderboard.table_rows import LeaderboardRow

MAX_CURVES = 12
"""Labels of a figure of curves; a legend of more is not read."""
MAX_PANELS = 16
"""Panels of a figure of curves."""


@dataclass(frozen=True, slots=True)
class CurveLayout:
    """How the series of a figure are spread over panels and curves.

    Attributes:
        by_transfer: One panel for each source with a curve for each transfer, in place of the reverse.
        y: Label of the y axis of its panels where a figure shows several numbers, empty where it shows one.
        is_difference: Whether the series are differences.
    """

    by_transfer: bool = False
    y: str = ""
    is_difference: bool = False

    def curve_label(self, row: LeaderboardRow) -> str:
        """Return the label of a row's curve."""
        return row.transfer if self.by_transfer else row.label

    def panel_label(self, row: LeaderboardRow) -> str:
        """Return the label of a row's panel."""
        return row.label if self.by_transfer else row.transfer


PLAIN_LAYOUT = CurveLayout()


def panel_labels(groups: Sequence[SeriesGroup], layout: CurveLayout = PLAIN_LAYOUT) -> list[str]:
    """Return the labels of the panels of each group."""
    rows = [series.row for group in groups for series in group.series]
    return sorted(set(map(layout.panel_label, rows)))


def curve_panels(
    groups: Sequence[SeriesGroup],
    *,
    baseline: str | None = None,
    layout: CurveLayout = PLAIN_LAYOUT,
    labels: Sequence[str] | None = None,
) -> list[list[CurvePanel]]:
    """Return panels of series: one row per group, one panel per transfer, and one curve per source.

    The groups of a single transfer stand in one row where they are few. Of many sources those with the highest
    values at the end are drawn, and the baseline.

    Args:
        groups: The series.
        baseline: The source whose curve is drawn in any case.
        layout: How the series are spread over panels and curves.
        labels: Labels of the panels of each group, by default those that its series have.
    """
    panels = panel_labels(groups, layout) if labels is None else labels
    drawn = drawn_labels(groups, baseline=baseline, layout=layout)
    rows = [
        [_curve_panel(group, panel, drawn, layout) for panel in panels[:MAX_PANELS]]
        for group in groups[: max(1, MAX_PANELS // max(1, len(panels)))]
    ]
    if len(panels) == 1 and len(groups) <= PANELS_PER_ROW:
        return [[panel for row in rows for panel in row]]
    return rows


def drawn_labels(
    groups: Sequence[SeriesGroup], *, baseline: str | None, layout: CurveLayout = PLAIN_LAYOUT
) -> set[str]:
    """Return the labels of the curves that are drawn."""
    highest: dict[str, float] = {}
    for group in groups:
        for series in group.series:
            values = [metric.low for metric in series.points[-1].metrics.values()]
            label = layout.curve_label(series.row)
            highest[label] = max(highest.get(label, -inf), sum(values) / len(values))
            is_baseline = series.row.source is not None and series.row.source == baseline
            if is_baseline and not layout.by_transfer:
                highest[label] = inf
    return set(sorted(highest, key=lambda label: (-highest[label], label))[:MAX_CURVES])


def _curve_panel(
    group: SeriesGroup, panel: str, labels: Collection[str], layout: CurveLayout
) -> CurvePanel:
    curves: dict[str, Curve] = {}
    for series in group.series:
        label = layout.curve_label(series.row)
        if layout.panel_label(series.row) == panel and label in labels:
            curves[label] = Curve(label, tuple(map(_curve_point, series.points)))
    ordered = tuple(curves[label] for label in sorted(curves))
    return CurvePanel(
        f"{group.title}, {panel}",
        ordered,
        group.ticks,
        group.scale,
        y=layout.y,
        is_difference=layout.is_difference,
    )


def omission_note(groups: Sequence[SeriesGroup], panels: Sequence[CurvePanel]) -> str:
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
