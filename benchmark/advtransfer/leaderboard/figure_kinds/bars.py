"""Bars of metrics for each row, as in Figure 5 of Chan et al. (2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from advtransfer.leaderboard.bars_plot import Bar, BarPanel, bars_figure
from advtransfer.leaderboard.curve_panels import MAX_CURVES, MAX_PANELS
from advtransfer.leaderboard.figure_inputs import (
    FigureCell,
    axis_label,
    cells_of,
    metric_columns,
    run_of,
)
from advtransfer.leaderboard.figure_texts import bars_text
from advtransfer.leaderboard.markdown import count_noun, inline_code
from advtransfer.leaderboard.pareto_figure import row_name
from advtransfer.types import Drawing, FigureInputs, FigureKind

BARS_NOTE = "mean over trials, and its 95 % interval as a line"


def _draw(inputs: FigureInputs) -> Drawing | None:
    data = run_of(inputs)
    columns = metric_columns(inputs)
    cells: dict[str, list[tuple[str, FigureCell]]] = {}
    for column in columns:
        for cell in cells_of(column, data, inputs.settings):
            place = f"{cell.target}, n = {cell.n}"
            cells.setdefault(place, []).append((column.name, cell))
    shown = list(cells.items())[:MAX_PANELS]
    panels = [_panel(place, of_place) for place, of_place in shown]
    if not panels:
        return None
    names = [column.name for column in columns]
    name = ", ".join(names)
    omitted = sum(panel.omitted for panel in panels)
    note = f" {count_noun(omitted, 'row')} beyond {MAX_CURVES} a panel are not drawn." * bool(
        omitted
    )
    if len(shown) < len(cells):
        note += f" Drawn: {len(shown)} of {len(cells)} targets and n."
    y = axis_label(columns[0], data, name="mean" if len(columns) > 1 else None)
    return Drawing(
        name,
        partial(bars_figure, panels, groups=names, y=y),
        text=f"Bars of {name}: {bars_text(panels)}",
        caption=f"{', '.join(map(inline_code, names))}: {BARS_NOTE}.{note}",
    )


def _panel(place: str, cells: Sequence[tuple[str, FigureCell]]) -> BarPanel:
    has_source = len({cell.row.source for _, cell in cells}) > 1
    labels = {id(cell): row_name(cell.row, has_source=has_source, has_n=False) for _, cell in cells}
    drawn = list(dict.fromkeys(labels.values()))
    bars = tuple(
        Bar(labels[id(cell)], group, cell.mean, cell.aggregate.interval)
        for group, cell in cells
        if labels[id(cell)] in drawn[:MAX_CURVES]
    )
    return BarPanel(place, bars, max(0, len(drawn) - MAX_CURVES))


BARS = FigureKind(
    "bars",
    _draw,
    required={"metrics": "metrics"},
    optional={"given": "selection"},
    help="A bar for each row and metric, with its interval.",
)
