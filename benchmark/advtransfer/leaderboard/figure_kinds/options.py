"""Figures and tables of metrics across a swept option, as in Tables 4 and 5 of Chan et al. (2020)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from advtransfer.leaderboard.curve_panels import MAX_CURVES, MAX_PANELS
from advtransfer.leaderboard.curves_plot import Curve, CurvePanel, CurvePoint, curves_figure
from advtransfer.leaderboard.figure_inputs import (
    FigureCell,
    axis_label,
    cells_of,
    figure_error,
    metric_columns,
    run_of,
)
from advtransfer.leaderboard.figure_kinds.curves import INTERVAL_NOTE
from advtransfer.leaderboard.figure_texts import curves_text
from advtransfer.leaderboard.markdown import (
    escape_markdown,
    format_interval,
    format_number,
    inline_code,
    markdown_table,
)
from advtransfer.leaderboard.questions_config import read_selection
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.scatter import PANELS_PER_ROW
from advtransfer.leaderboard.swept_options import SweptOption, label_without_option
from advtransfer.leaderboard.table_rows import Column
from advtransfer.planning import Trial
from advtransfer.text import ABSENT
from advtransfer.types import Drawing, FigureInputs, FigureKind, Json

LOG_RANGE = 10.0
"""Ratio of the largest to the smallest value of an option from which its axis is logarithmic."""


SweepKey: TypeAlias = "tuple[str, str, str]"
"""What the rows of one curve share: source or its other options, adapter, and transfer or its other options."""


@dataclass(frozen=True, slots=True)
class OptionPoint:
    """The number of one row of a sweep: the option's value, and the labels of its source and transfer."""

    value: Json
    source: str
    transfer: str
    cell: FigureCell


@dataclass(frozen=True, slots=True)
class OptionSweep:
    """The rows that differ in the option alone, at one target and n, for one metric."""

    column: Column
    place: str
    label: str
    points: tuple[OptionPoint, ...]


def _draw(inputs: FigureInputs) -> Drawing | None:
    data = run_of(inputs)
    option = str(inputs.settings["option"])
    columns = metric_columns(inputs)
    sweeps = [sweep for column in columns for sweep in option_sweeps(column, option, inputs)]
    if not sweeps:
        return None
    values = _sorted_values(sweeps)
    ticks = _tick_positions(values)
    places = list(dict.fromkeys(sweep.place for sweep in sweeps))
    shown = places[: PANELS_PER_ROW if len(columns) > 1 else MAX_PANELS]
    rows: list[list[CurvePanel]] = []
    for column in columns:
        panels = [_panel(column, place, sweeps, ticks, data, len(columns) > 1) for place in shown]
        starts = range(0, len(panels), PANELS_PER_ROW)
        rows += [panels[start : start + PANELS_PER_ROW] for start in starts]
    name = ", ".join(column.name for column in columns)
    title = f"{name} against {option}"
    every_panel = [panel for row in rows for panel in row]
    text = f"{title}: {curves_text(every_panel, axis=option)}"
    omitted = "" if shown == places else f" Drawn: {len(shown)} of {len(places)} targets and n."
    most = max(Counter((sweep.column.key, sweep.place) for sweep in sweeps).values())
    if most > MAX_CURVES:
        omitted += f" Drawn: {MAX_CURVES} of up to {most} curves a panel; the table has all."
    y = axis_label(columns[0], data)
    names = ", ".join(inline_code(column.name) for column in columns)
    return Drawing(
        f"{name} against {option}",
        partial(curves_figure, rows, x=option, y=y),
        text=text,
        caption=f"{names} against the option {inline_code(option)}: {INTERVAL_NOTE}{omitted}",
        title=title,
        table=_table(sweeps, columns, option, values),
    )


def option_sweeps(column: Column, option: str, inputs: FigureInputs) -> list[OptionSweep]:
    """Return the sweeps of an option, for each target and n; rows without the option are in none."""
    data = run_of(inputs)
    points: dict[tuple[str, SweepKey], list[OptionPoint]] = {}
    for cell in cells_of(column, data, inputs.settings):
        option_value = _option_of(cell.row.trials[0], option, data)
        if option_value is None:
            continue
        is_fit, swept = option_value
        row = cell.row
        source = row.source or "no source"
        key = (
            source if is_fit else swept.others,
            row.adapter or "",
            swept.others if is_fit else row.transfer,
        )
        place = f"{cell.target}, n = {cell.n}"
        point = OptionPoint(swept.value, source, row.transfer, cell)
        points.setdefault((place, key), []).append(point)
    sweeps: list[OptionSweep] = []
    for (place, (_, adapter, _)), of_key in points.items():
        sources = sorted({point.source for point in of_key})
        transfers = sorted({point.transfer for point in of_key})
        parts = [label_without_option(sources, option), label_without_option(transfers, option)]
        label = ", ".join(parts) if not adapter else f"{parts[0]} via {adapter}, {parts[1]}"
        sweeps.append(OptionSweep(column, place, label, tuple(of_key)))
    return sweeps


def _option_of(trial: Trial, option: str, data: RunData) -> tuple[bool, SweptOption] | None:
    """Return whether the option is the fit's, and its value; that of the source where the fit has none."""
    if (trial.id, option) in data.swept:
        return True, data.swept[trial.id, option]
    for id in trial.builds:
        if data.plan.sources.get(id) == trial.source and (id, option) in data.swept:
            return False, data.swept[id, option]
    return None


def _sorted_values(sweeps: Sequence[OptionSweep]) -> list[Json]:
    """Return the values of the option, numbers by size and before all others."""
    values = {_value_text(point.value): point.value for sweep in sweeps for point in sweep.points}

    def order(text: str) -> tuple[bool, float, str]:
        number = _number(values[text])
        return (number is None, number or 0.0, text)

    return [values[text] for text in sorted(values, key=order)]


def _tick_positions(values: Sequence[Json]) -> dict[str, float]:
    """Return the position of each value by its text: the numbers themselves, else 0, 1, 2, ..."""
    numbers = [_number(value) for value in values]
    texts = list(map(_value_text, values))
    known = [number for number in numbers if number is not None]
    if len(known) == len(values):
        return dict(zip(texts, known, strict=True))
    return {text: float(place) for place, text in enumerate(texts)}


def _panel(
    column: Column,
    place: str,
    sweeps: Sequence[OptionSweep],
    ticks: Mapping[str, float],
    data: RunData,
    has_label: bool,
) -> CurvePanel:
    own = [each for each in sweeps if each.column is column and each.place == place]
    curves = [Curve(sweep.label, _curve_points(sweep, ticks)) for sweep in own[:MAX_CURVES]]
    positions = list(ticks.values())
    is_log = min(positions) > 0 and max(positions) / min(positions) >= LOG_RANGE
    return CurvePanel(
        place,
        tuple(sorted(curves, key=lambda curve: curve.label)),
        tuple((position, text) for text, position in ticks.items()),
        "log" if is_log else "linear",
        y=axis_label(column, data) if has_label else "",
    )


def _curve_points(sweep: OptionSweep, ticks: Mapping[str, float]) -> tuple[CurvePoint, ...]:
    points: list[CurvePoint] = []
    for point in sweep.points:
        cell = point.cell
        mean = cell.mean
        points.append(
            CurvePoint(
                ticks[_value_text(point.value)],
                mean,
                cell.aggregate.interval or (mean, mean),
                is_hollow=cell.aggregate.basis in ("deterministic", "single"),
            )
        )
    return tuple(sorted(points, key=lambda point: point.x))


def _table(
    sweeps: Sequence[OptionSweep],
    columns: Sequence[Column],
    option: str,
    values: Sequence[Json],
) -> str:
    """Return a table with a row for each value of each sweep, and a column for each metric."""
    # Sources that differ in their seed alone, or sweeps under one label, have a row each.
    cells: dict[tuple[str, str, str, str, str], dict[str, str]] = {}
    for sweep in sweeps:
        for point in sweep.points:
            fine = not point.cell.is_share
            interval = format_interval(point.cell.aggregate.interval, fine=fine)
            value = _value_text(point.value)
            key = (sweep.place, sweep.label, value, point.source, point.transfer)
            text = f"{format_number(point.cell.mean, fine=fine)}{interval}"
            cells.setdefault(key, {})[sweep.column.name] = text
    order = [_value_text(value) for value in values]
    places = list(dict.fromkeys(sweep.place for sweep in sweeps))
    rows = [
        [
            *map(escape_markdown, (place, label, value)),
            *(numbers.get(column.name, ABSENT) for column in columns),
        ]
        for (place, label, value, *_), numbers in sorted(
            cells.items(),
            key=lambda item: (places.index(item[0][0]), item[0][1], order.index(item[0][2])),
        )
    ]
    header = ["target, n", "row", escape_markdown(option)]
    header += [escape_markdown(column.name) for column in columns]
    return markdown_table(header, rows, right=[False, False, True, *[True] * len(columns)])


def _number(value: Json) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]  # a number, as checked


def _value_text(value: Json) -> str:
    number = _number(value)
    return f"{number:g}" if number is not None else str(value)


def _check(inputs: FigureInputs) -> None:
    """Raise where records exist and none of those that ``given`` selects has the option."""
    data = run_of(inputs)
    option = str(inputs.settings["option"])
    selection = read_selection(inputs.settings.get("given"))
    fits = [
        trial
        for trial in data.plan.trials
        if selection.selects_trial(trial) and data.has_record(trial.id)
    ]
    if fits and not any(_option_of(trial, option, data) for trial in fits):
        raise figure_error(inputs.settings, "option: one of the fits or sources, with dots inside")


METRIC_VS_OPTION = FigureKind(
    "metric_vs_option",
    _draw,
    required={"metrics": "metrics", "option": "option"},
    optional={"given": "selection"},
    check=_check,
    help="Metrics against a swept option of a transfer or a source, with a table of the numbers.",
)
