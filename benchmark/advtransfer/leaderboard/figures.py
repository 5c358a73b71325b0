"""The figures of the page: which ones a suite asks for, and the curves in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.columns import Column, find
from advtransfer.leaderboard.drawing import Curve, Panel, Point, draw
from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.markdown import code
from advtransfer.leaderboard.ranges import mean_of
from advtransfer.leaderboard.rows import Place, Row, tables
from advtransfer.suite.board import FIGURES


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as a file of the page: its name, its SVG, its alternative text, and a caption in markdown."""

    name: str
    svg: bytes
    text: str
    caption: str


def figures(evidence: Evidence) -> list[Figure]:
    """The figures that the suite asks for and that have something to show.

    Raises:
        BadInput: A figure's kind or metric is unknown.
    """
    asked = evidence.plan.leaderboard.get("figures")
    drawn = [_figure(one, evidence) for one in asked] if isinstance(asked, list | tuple) else []
    return [figure for figure in drawn if figure is not None]


def check_figure(asked: object, evidence: Evidence) -> tuple[str, Column]:
    """The kind of a figure and the column that it is of.

    Raises:
        BadInput: Its kind or metric is unknown.
    """
    if not isinstance(asked, Mapping) or asked.get("kind") not in FIGURES or not asked.get("metric"):
        expected = f"a kind of {', '.join(FIGURES)}, and a metric as in `columns`"
        raise BadInput([Problem(f"leaderboard figure {asked!r}", expected, "correct it in the suite and run it again")])
    return str(asked["kind"]), find(str(asked["metric"]), evidence)


def _figure(asked: object, evidence: Evidence) -> Figure | None:
    kind, column = check_figure(asked, evidence)
    panels = accuracy_vs_n(evidence, column)
    if not any(panel.curves for row in panels for panel in row):
        return None
    return Figure(
        name=re.sub(r"[^A-Za-z0-9.]+", "_", f"{kind}_{column.name}").strip("_.") + ".svg",
        svg=draw(panels, x="labelled target images n", y=_axis(column, evidence), title=f"{column.name} against n"),
        text=f"{column.name} against the number of labelled target images n",
        caption=f"{code(column.name)} against the number of labelled target images: mean and 95 % interval. Filled "
        "markers: the interval is over subset seeds (over source trainings where a source has replicates); hollow: "
        "over test images.",
    )


def accuracy_vs_n(evidence: Evidence, column: Column) -> list[list[Panel]]:
    """A metric against n: a row of panels for each target, a panel for each transfer, a curve for each source."""
    there = tables(evidence)
    targets = sorted({target for target, _ in there})
    transfers = sorted({row.transfer for rows in there.values() for row in rows})
    return [[_panel(target, transfer, there, column, evidence) for transfer in transfers] for target in targets]


def _axis(column: Column, evidence: Evidence) -> str:
    """The y axis with its unit."""
    found = (column.of(trial, evidence) for trial in evidence.plan.trials)
    share = all(metric.of for metric in found if metric is not None)
    return f"{column.name}\n(share of test images)" if share else column.name


def _panel(
    target: str,
    transfer: str,
    there: Mapping[Place, Sequence[Row]],
    column: Column,
    evidence: Evidence,
) -> Panel:
    places = _places(target, there, evidence)
    curves: dict[str, list[Point]] = {}
    for n, (x, _) in places.items():
        for row in there[target, n]:
            metrics = row.values(column, evidence) if row.transfer == transfer else {}
            if metrics:
                found = mean_of(metrics)
                hollow = found.basis in ("deterministic", "single")
                point = Point(x, (found.low + found.high) / 2, found.interval or (found.low, found.high), hollow)
                curves.setdefault(row.label, []).append(point)
    drawn = tuple(Curve(label, tuple(points)) for label, points in sorted(curves.items()))
    return Panel(f"{target}, {transfer}", drawn, tuple(places.values()))


def _places(
    target: str, there: Mapping[Place, Sequence[Row]], evidence: Evidence
) -> dict[int | str, tuple[float, str]]:
    """Where each n of a target lies on the axis, and its tick: `all` at its count if a fit recorded it, else last."""
    counts = sorted(n for one, n in there if one == target and isinstance(n, int))
    places: dict[int | str, tuple[float, str]] = {n: (float(n), str(n)) for n in counts}
    if (target, "all") in there:
        used = list(_used(there[target, "all"], evidence))
        last = 2.0 * max(counts, default=1)
        places["all"] = (float(max(used)), f"all ({max(used)})") if used else (last, "all")
    return places


def _used(rows: Sequence[Row], evidence: Evidence) -> Iterator[int]:
    for row in rows:
        for trial in row.trials:
            if trial.id in evidence.labels_used:
                yield evidence.labels_used[trial.id]
