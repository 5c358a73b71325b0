"""A metric of every pair of two axes as a matrix: the affinity map of sources and targets of Liang et al. (2021)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from advtransfer.leaderboard.figure_inputs import (
    FigureCell,
    axis_label,
    cells_of,
    figure_error,
    metric_column,
    run_of,
)
from advtransfer.leaderboard.markdown import format_number, inline_code
from advtransfer.leaderboard.matrix_plot import NumberMatrix, matrix_figure
from advtransfer.types import Drawing, FigureInputs, FigureKind

MATRIX_AXES = ("source", "adapter", "target", "n", "transfer")
"""Axes of a matrix: those that tell rows of the tables apart."""
MAX_MATRICES = 4
MAX_LABELS = 40
"""Labels of an axis; the numbers of more cannot be read."""


def _draw(inputs: FigureInputs) -> Drawing | None:
    data = run_of(inputs)
    rows, columns = matrix_axes(inputs)
    column = metric_column(inputs)
    cells = list(cells_of(column, data, inputs.settings))
    panels = number_matrices(cells, rows, columns)
    if not panels:
        return None
    shown = panels[:MAX_MATRICES]
    title = f"{column.name} by {rows} and {columns}"
    note = f"mean over trials, in each {_panel_axes(rows, columns)}"
    if len(panels) > len(shown):
        note += f"; drawn: {len(shown)} of {len(panels)} matrices"
    if sum(len(panel.numbers) for panel in panels) < len(cells):
        note += f"; drawn: the first {MAX_LABELS} labels of an axis"
    return Drawing(
        title,
        partial(matrix_figure, shown, x=columns, y=rows, label=axis_label(column, data)),
        text=f"{title}: {matrices_text(shown)}.",
        caption=f"{inline_code(column.name)} for every {rows} and {columns}: {note}.",
    )


def matrix_axes(inputs: FigureInputs) -> tuple[str, str]:
    """Return the axes of rows and columns, by default source and target."""
    rows = inputs.settings.get("rows") or "source"
    columns = inputs.settings.get("columns") or "target"
    return str(rows), str(columns)


def number_matrices(cells: Sequence[FigureCell], rows: str, columns: str) -> list[NumberMatrix]:
    """Return a matrix for each combination of labels on the other axes that occurs."""
    others = [axis for axis in MATRIX_AXES if axis not in (rows, columns)]
    numbers: dict[tuple[str, ...], dict[tuple[str, str], float]] = {}
    for cell in cells:
        key = tuple(cell.label_on(axis) for axis in others)
        numbers.setdefault(key, {})[cell.label_on(rows), cell.label_on(columns)] = cell.mean
    # Axes on which all cells agree would make every title longer and say nothing.
    varying = [place for place in range(len(others)) if len({key[place] for key in numbers}) > 1]
    matrices: list[NumberMatrix] = []
    for key, of_key in numbers.items():
        title = ", ".join(
            f"n = {key[place]}" if others[place] == "n" else key[place] for place in varying
        )
        row_labels = tuple(dict.fromkeys(row for row, _ in of_key))[:MAX_LABELS]
        column_labels = tuple(dict.fromkeys(column for _, column in of_key))[:MAX_LABELS]
        shown = {
            place: number
            for place, number in of_key.items()
            if place[0] in row_labels and place[1] in column_labels
        }
        matrices.append(NumberMatrix(title, row_labels, column_labels, shown))
    return matrices


def matrices_text(matrices: Sequence[NumberMatrix]) -> str:
    """Return where each matrix is highest and lowest."""
    texts: list[str] = []
    for matrix in matrices:
        highest = max(matrix.numbers, key=lambda place: matrix.numbers[place])
        lowest = min(matrix.numbers, key=lambda place: matrix.numbers[place])
        size = f"{len(matrix.rows)} by {len(matrix.columns)}"
        ends = [
            f"{word} {format_number(matrix.numbers[place])} for {place[0]} and {place[1]}"
            for word, place in (("highest", highest), ("lowest", lowest))
        ]
        texts.append(f"{matrix.title or 'matrix'} of {size}, {', '.join(ends)}")
    return "; ".join(texts)


def _panel_axes(rows: str, columns: str) -> str:
    return ", ".join(axis for axis in MATRIX_AXES if axis not in (rows, columns))


def _check(inputs: FigureInputs) -> None:
    rows, columns = matrix_axes(inputs)
    if rows == columns or not {rows, columns} <= set(MATRIX_AXES):
        expected = f"two axes, rows and columns, of {', '.join(MATRIX_AXES)}"
        raise figure_error(inputs.settings, expected)


MATRIX = FigureKind(
    "matrix",
    _draw,
    required={"metric": "metric"},
    optional={"rows": "axis", "columns": "axis", "given": "selection"},
    check=_check,
    help="A metric for every label of two axes, by default sources and targets.",
)
