"""Panels of robust against clean accuracy, with the front of each source or of all."""

from __future__ import annotations

from collections.abc import Sequence

from advtransfer.leaderboard.aggregates import aggregate_metrics
from advtransfer.leaderboard.markdown import count_noun
from advtransfer.leaderboard.pareto import AccuracyPair, ParetoFront, pareto_fronts
from advtransfer.leaderboard.points_plot import ScatterPanel, ScatterPoint
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, group_rows

MAX_POINTS = 20
"""Rows of a panel; a legend of more is not read."""
MAX_SOURCES = 8
"""Sources with a panel each."""


def front_panels(data: RunData, pair: AccuracyPair) -> list[ScatterPanel]:
    """Return a panel for each target and source; one for all sources where they are many or have single rows."""
    rows_by_target: dict[str, list[LeaderboardRow]] = {}
    for (target, _), rows in group_rows(data).items():
        rows_by_target.setdefault(target, []).extend(rows)
    fronts = {
        (front.target, front.source, front.is_overall): front
        for front in pareto_fronts(data, pair, resamples=0)
    }
    panels: list[ScatterPanel] = []
    for target, rows in rows_by_target.items():
        sources = sorted({row.source for row in rows}, key=lambda source: source or "")
        if len(sources) > 1 and (len(sources) == len(rows) or len(sources) > MAX_SOURCES):
            panels.append(_panel(target, rows, pair, fronts.get((target, None, True)), data))
            continue
        for source in sources:
            own = [row for row in rows if row.source == source]
            title = f"{target}, {f'from {source}' if source else 'no source'}"
            panels.append(_panel(title, own, pair, fronts.get((target, source, False)), data))
    return panels


def row_name(row: LeaderboardRow, *, has_source: bool, has_n: bool) -> str:
    """Return the name of a row among those of one target: ``natural via crop, probe, n = 20``."""
    parts = [row.label] if has_source else ([f"via {row.adapter}"] if row.adapter else [])
    parts.append(row.transfer)
    if has_n:
        parts.append(f"n = {row.trials[0].n}")
    return ", ".join(parts)


def _panel(
    title: str,
    rows: Sequence[LeaderboardRow],
    pair: AccuracyPair,
    front: ParetoFront | None,
    data: RunData,
) -> ScatterPanel:
    has_source = len({row.source for row in rows}) > 1
    has_n = len({row.trials[0].n for row in rows}) > 1
    # Rows are made anew by each grouping, and compared by their trials.
    ranked = {} if front is None else {each.row.trials[0].id: each for each in front.points}

    def drawing_order(row: LeaderboardRow) -> tuple[bool, bool, float]:
        point = ranked.get(row.trials[0].id)
        if point is None:
            return True, True, 0.0
        return False, not point.is_on_front, -point.clean * point.robust

    points: list[ScatterPoint] = []
    for row in sorted(rows, key=drawing_order)[:MAX_POINTS]:
        clean, robust = (row.metric_values(column, data) for column in pair)
        if clean and robust:
            x, y = aggregate_metrics(clean), aggregate_metrics(robust)
            name = row_name(row, has_source=has_source, has_n=has_n)
            intervals = (x.interval, y.interval)
            is_hollow = row.trials[0].id not in ranked
            points.append(ScatterPoint(name, ((x.low, y.low),), intervals, is_hollow=is_hollow))
    corners: tuple[tuple[float, float], ...] = ()
    chance = 0.0 if front is None else front.chance
    if front is not None:
        on_front = {(each.clean, each.robust) for each in front.points if each.is_on_front}
        corners = tuple(sorted(corner for corner in on_front if corner[0] > chance))
    omitted = max(0, len(rows) - MAX_POINTS)
    return ScatterPanel(
        title, pair.clean.name, tuple(points), None, corners, (chance, 0.0), omitted
    )


def omission_note(panels: Sequence[ScatterPanel]) -> str:
    """Return a sentence on the rows that a figure leaves out, empty if it draws all."""
    omitted = sum(panel.omitted for panel in panels)
    if not omitted:
        return ""
    return (
        f" At most {MAX_POINTS} rows a panel are drawn, those on its front first; "
        f"{count_noun(omitted, 'row')} of these panels are not."
    )
