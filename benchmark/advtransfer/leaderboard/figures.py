"""The figures that a suite asks for: a metric against the number of labelled target images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.markdown import inline_code
from advtransfer.leaderboard.plots import Curve, CurvePanel, CurvePoint, draw_curves
from advtransfer.leaderboard.ranking import aggregate_metrics
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    Column,
    LeaderboardRow,
    TablePlace,
    find_column,
    group_rows,
)
from advtransfer.suite.leaderboard_settings import FIGURE_KINDS


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure as a file of the page: its name, its SVG, its alternative text, and a caption in markdown."""

    name: str
    svg: bytes
    text: str
    caption: str


def requested_figures(evidence: RunData) -> list[PageFigure]:
    """The figures that the suite asks for and that have something to show.

    Raises:
        BadInput: A figure's kind or metric is unknown.
    """
    asked = evidence.plan.leaderboard.get("figures")
    drawn = (
        [_make_figure(one, evidence) for one in asked] if isinstance(asked, list | tuple) else []
    )
    return [figure for figure in drawn if figure is not None]


def parse_figure(asked: object, evidence: RunData) -> tuple[str, Column]:
    """The kind of a figure and the column that it is of.

    Raises:
        BadInput: Its kind or metric is unknown.
    """
    if (
        not isinstance(asked, Mapping)
        or asked.get("kind") not in FIGURE_KINDS
        or not asked.get("metric")
    ):
        expected = f"a kind of {', '.join(FIGURE_KINDS)}, and a metric as in `columns`"
        raise BadInput(
            [
                Problem(
                    f"leaderboard figure {asked!r}",
                    expected,
                    "correct it in the suite and run it again",
                )
            ]
        )
    return str(asked["kind"]), find_column(str(asked["metric"]), evidence)


def _make_figure(asked: object, evidence: RunData) -> PageFigure | None:
    kind, column = parse_figure(asked, evidence)
    panels = curve_panels(evidence, column)
    if not any(panel.curves for row in panels for panel in row):
        return None
    return PageFigure(
        name=re.sub(r"[^A-Za-z0-9.]+", "_", f"{kind}_{column.name}").strip("_.") + ".svg",
        svg=draw_curves(
            panels,
            x="labelled target images n",
            y=_axis_label(column, evidence),
            title=f"{column.name} against n",
        ),
        text=f"{column.name} against the number of labelled target images n",
        caption=f"{inline_code(column.name)} against the number of labelled target images: mean and 95 % interval. Filled "
        "markers: the interval is over subset seeds (over source trainings where a source has replicates); hollow: "
        "over test images.",
    )


def curve_panels(evidence: RunData, column: Column) -> list[list[CurvePanel]]:
    """A metric against n: a row of panels for each target, a panel for each transfer, a curve for each source."""
    there = group_rows(evidence)
    targets = sorted({target for target, _ in there})
    transfers = sorted({row.transfer for rows in there.values() for row in rows})
    return [
        [_curve_panel(target, transfer, there, column, evidence) for transfer in transfers]
        for target in targets
    ]


def _axis_label(column: Column, evidence: RunData) -> str:
    """The y axis with its unit."""
    found = (column.metric_of(trial, evidence) for trial in evidence.plan.trials)
    share = all(metric.sample_count for metric in found if metric is not None)
    return f"{column.name}\n(share of test images)" if share else column.name


def _curve_panel(
    target: str,
    transfer: str,
    there: Mapping[TablePlace, Sequence[LeaderboardRow]],
    column: Column,
    evidence: RunData,
) -> CurvePanel:
    places = _axis_ticks(target, there, evidence)
    curves: dict[str, list[CurvePoint]] = {}
    for n, (x, _) in places.items():
        for row in there[target, n]:
            metrics = row.metric_values(column, evidence) if row.transfer == transfer else {}
            if metrics:
                found = aggregate_metrics(metrics)
                hollow = found.basis in ("deterministic", "single")
                point = CurvePoint(
                    x,
                    (found.low + found.high) / 2,
                    found.interval or (found.low, found.high),
                    hollow,
                )
                curves.setdefault(row.label, []).append(point)
    drawn = tuple(Curve(label, tuple(points)) for label, points in sorted(curves.items()))
    return CurvePanel(f"{target}, {transfer}", drawn, tuple(places.values()))


def _axis_ticks(
    target: str, there: Mapping[TablePlace, Sequence[LeaderboardRow]], evidence: RunData
) -> dict[int | str, tuple[float, str]]:
    """Where each n of a target lies on the axis, and its tick: `all` at its count if a fit recorded it, else last."""
    counts = sorted(n for one, n in there if one == target and isinstance(n, int))
    places: dict[int | str, tuple[float, str]] = {n: (float(n), str(n)) for n in counts}
    if (target, "all") in there:
        used = list(_labels_used(there[target, "all"], evidence))
        last = 2.0 * max(counts, default=1)
        places["all"] = (float(max(used)), f"all ({max(used)})") if used else (last, "all")
    return places


def _labels_used(rows: Sequence[LeaderboardRow], evidence: RunData) -> Iterator[int]:
    for row in rows:
        for trial in row.trials:
            if trial.id in evidence.labels_used:
                yield evidence.labels_used[trial.id]
