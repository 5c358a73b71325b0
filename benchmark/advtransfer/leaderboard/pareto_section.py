"""The page section on Pareto fronts of clean and robust accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from advtransfer.leaderboard.figure_kinds.points import accuracy_pair
from advtransfer.leaderboard.figure_requests import figure_requests
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    inline_code,
    join_parts,
    markdown_table,
)
from advtransfer.leaderboard.pareto import (
    RESAMPLES,
    AccuracyPair,
    FrontPoint,
    ParetoFront,
    default_pair,
    pareto_fronts,
)
from advtransfer.leaderboard.pareto_figure import row_name
from advtransfer.leaderboard.run_data import RunData

ALL_SOURCES = "all sources"
NO_SOURCE = "no source"
ROUNDED_SHARE = 0.005
"""Shares below it, or as near to 1, round to what is never and always."""
FEW_UNITS = 5
"""Trainings or seeds up to which the page says that shares of resamples are rough."""
MAX_ROWS = 40
"""Rows of a table of shares; those of the smallest shares beyond are counted."""


def requested_pairs(data: RunData) -> list[AccuracyPair]:
    """Return the accuracies whose fronts the page shows: those of its figures, or the first of its columns."""
    pairs = [
        accuracy_pair(request.inputs)
        for request in figure_requests(data)
        if request.name == "robust_vs_clean"
    ]
    if pairs:
        return list({(pair.clean.key, pair.robust.key): pair for pair in pairs}.values())
    pair = default_pair(data)
    return [] if pair is None else [pair]


def pareto_section(data: RunData) -> str:
    """Return the section, empty where no row has a clean and a checked robust accuracy."""
    parts: list[str] = []
    for pair in requested_pairs(data):
        fronts = pareto_fronts(data, pair)
        by_target: dict[str, list[ParetoFront]] = {}
        for front in fronts:
            by_target.setdefault(front.target, []).append(front)
        parts += [
            _target_text(target, of_target, pair, data) for target, of_target in by_target.items()
        ]
    return join_parts(["## Clean and robust accuracy together", *parts]) if parts else ""


def _target_text(
    target: str, fronts: Sequence[ParetoFront], pair: AccuracyPair, data: RunData
) -> str:
    names = f"{inline_code(pair.clean.name)} and {inline_code(pair.robust.name)}"
    return join_parts(
        [
            f"### {escape_markdown(target)}: {names}",
            _area_table(fronts),
            _share_table(fronts),
            _front_note(fronts),
        ]
    )


def _area_table(fronts: Sequence[ParetoFront]) -> str:
    """Return the fronts, largest first and that of all sources last."""
    ordered = sorted(fronts, key=lambda front: (-front.area, front.source or ""))
    own = [front for front in ordered if not front.is_overall]
    shown = [*own[:MAX_ROWS], *(front for front in ordered if front.is_overall)]
    rows: list[list[str]] = []
    for front in shown:
        count = sum(point.is_on_front for point in front.points)
        area = f"{format_number(front.area)}{format_interval(front.interval)}"
        rows.append([_scope_name(front), f"{count}/{len(front.points)}", area])
    header = ["rows of", "on the front", "hypervolume"]
    more = len(own) - MAX_ROWS
    note = f"{count_noun(more, 'more source')} with smaller fronts." if more > 0 else ""
    return join_parts([markdown_table(header, rows, right=[False, True, True]), note])


def _scope_name(front: ParetoFront) -> str:
    if front.is_overall:
        return ALL_SOURCES
    return escape_markdown(front.source or NO_SOURCE)


def _share_table(fronts: Sequence[ParetoFront]) -> str:
    """Return the rows with their shares of resamples on the front of their source, and of all."""
    overall = {point.row: point for front in fronts if front.is_overall for point in front.points}
    own = [point for front in fronts if not front.is_overall for point in front.points]
    has_n = len({point.row.trials[0].n for point in own}) > 1

    def sort_key(point: FrontPoint) -> tuple[float, float, float, float]:
        of_all = overall.get(point.row, point)
        return -(of_all.share or 0), -(point.share or 0), -point.clean, -point.robust

    ordered = sorted(own, key=sort_key)
    rows: list[list[str]] = []
    for point in ordered[:MAX_ROWS]:
        name = escape_markdown(row_name(point.row, has_source=True, has_n=has_n))
        cells = [name, format_number(point.clean), format_number(point.robust), _share_text(point)]
        if overall:
            cells.append(_share_text(overall[point.row]))
        rows.append(cells)
    header = ["row", "clean", "robust", "on its source's front"]
    if overall:
        header.append("on the front of all")
    table = markdown_table(header, rows, right=[False] + [True] * (len(header) - 1))
    more = len(own) - MAX_ROWS
    note = f"{count_noun(more, 'more row')} with smaller shares." if more > 0 else ""
    return join_parts([table, note])


def _share_text(point: FrontPoint) -> str:
    """Return the share of resamples in which a row is on a front, bold where it is on the measured one."""
    share = point.share or 0.0
    text = f"{100 * share:.0f} %"
    if 0 < share < ROUNDED_SHARE:
        text = "< 1 %"
    elif 1 - ROUNDED_SHARE < share < 1:
        text = "> 99 %"
    return f"**{text}**" if point.is_on_front else text


def _front_note(fronts: Sequence[ParetoFront]) -> str:
    chance = fronts[0].chance
    units = max(front.unit_count for front in fronts)
    over = "test images and source trainings or subset seeds" if units > 1 else "test images alone"
    few = ""
    if 1 < units <= FEW_UNITS:
        few = f" Shares over {units} trainings or seeds are rough: so few are resampled too much alike."
    start = f"({format_number(chance)}, 0), where {format_number(chance)} is the share of the largest class"
    if not chance:
        start = (
            "(0, 0): chance is taken as 0, since no record has the share of the largest class, so the area is "
            "larger than above chance"
        )
    return (
        "Front: the rows that no other row of the same source (over transfers and n), or of all sources, equals or "
        f"exceeds in both accuracies and exceeds in one. Hypervolume: the area that a front dominates above {start}; "
        f"in brackets its 95 % interval over {over}. On the front: the share of {RESAMPLES:,} resamples of {over}, the "
        "same for all rows, in which a row is on it; bold: it is on the measured front. A front of more rows is "
        f"larger by chance too.{few} Rows that are not ranked, without a battery, or incomplete are on no front."
    )
