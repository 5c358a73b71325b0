"""Alternative texts of figures: what a reader would take from looking at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from advtransfer.leaderboard.bars_plot import BarPanel
from advtransfer.leaderboard.curves_plot import Curve, CurvePanel
from advtransfer.leaderboard.markdown import count_noun, format_number
from advtransfer.leaderboard.points_plot import LineBand, ScatterPanel

MAX_PANELS = 6
MAX_CURVES = 6
"""Panels of a figure, and curves or points of a panel, that are put into words; more are counted."""


def curves_text(panels: Iterable[CurvePanel], *, axis: str) -> str:
    """Return where each curve begins and ends: ``digits, probe: natural from .410 at n = 20 to ...``."""
    texts: list[str] = []
    for panel in panels:
        curves = [_curve_text(curve, panel, axis) for curve in panel.curves]
        texts.append(f"{panel.title}: {_shortened(curves, MAX_CURVES, 'curve') or 'no result'}")
    return _shortened(texts, MAX_PANELS, "panel") + "."


def panels_text(panels: Iterable[ScatterPanel]) -> str:
    """Return what each panel of points shows: its line or front, or the range of its points."""
    texts = [f"{panel.title or 'all'}: {_panel_text(panel)}" for panel in panels]
    return _shortened(texts, MAX_PANELS, "panel") + "."


def bars_text(panels: Iterable[BarPanel]) -> str:
    """Return the height of each bar: ``digits, n = 20: clean.accuracy natural .410, robust .520``."""
    texts: list[str] = []
    for panel in panels:
        groups = dict.fromkeys(bar.group for bar in panel.bars)
        parts: list[str] = []
        for group in groups:
            bars = [bar for bar in panel.bars if bar.group == group]
            heights = [f"{bar.label} {format_number(bar.height)}" for bar in bars]
            parts.append(f"{group} {', '.join(heights)}")
        texts.append(f"{panel.title}: {_shortened(parts, MAX_CURVES, 'group') or 'no result'}")
    return _shortened(texts, MAX_PANELS, "panel") + "."


def _curve_text(curve: Curve, panel: CurvePanel, axis: str) -> str:
    names = dict(panel.ticks)
    ends = [curve.points[0], curve.points[-1]]
    texts: list[str] = []
    for point in ends[: len(curve.points)]:
        x = names.get(point.x, f"{point.x:g}")
        texts.append(f"{format_number(point.y)} at {axis} = {x}")
    return f"{curve.label} {'from ' if len(texts) > 1 else ''}{' to '.join(texts)}"


def _panel_text(panel: ScatterPanel) -> str:
    if not panel.points:
        return "no result"
    count = count_noun(len(panel.points), "point")
    if panel.front:
        corners = [f"({format_number(x)}, {format_number(y)})" for x, y in panel.front]
        return f"{count}, the front at {_shortened(corners, MAX_CURVES, 'corner')}"
    if panel.line is not None:
        return f"{count}, {_line_text(panel.line)}"
    positions = [position for point in panel.points for position in point.positions]
    xs, ys = zip(*positions, strict=True)
    return f"{count}, x from {_range_text(xs)}, y from {_range_text(ys)}"


def _line_text(line: LineBand) -> str:
    direction = "rises" if line.ys[-1] > line.ys[0] else "falls"
    # The band of the mean holds a level line where its ends leave room for one.
    is_clear = line.lows[-1] > line.highs[0] or line.highs[-1] < line.lows[0]
    ends = f"from {format_number(line.ys[0])} to {format_number(line.ys[-1])}"
    doubt = "" if is_clear else ", within its band"
    return f"the line {direction} {ends}{doubt}"


def _range_text(values: Sequence[float]) -> str:
    return f"{format_number(min(values))} to {format_number(max(values))}"


def _shortened(texts: Sequence[str], limit: int, noun: str) -> str:
    shown = list(texts[:limit])
    if len(texts) > limit:
        shown.append(f"and {count_noun(len(texts) - limit, f'more {noun}')}")
    return "; ".join(shown)
