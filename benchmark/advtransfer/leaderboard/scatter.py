"""Scatter plots of one metric against another, with a regression line and its band."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

from advtransfer.leaderboard.points_plot import LineBand, ScatterPanel, ScatterPoint
from advtransfer.leaderboard.questions_points import QuestionPoints, QuestionScope

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

AXIS_TEXTS = {
    "source": "from {}",
    "adapter": "via {}",
    "target": "{}",
    "n": "n = {}",
    "transfer": "{}",
}
TITLE_AXES = ("target", "n", "source", "adapter", "transfer")
PANELS_PER_ROW = 4
MIN_LINE_POINTS = 3
"""Points of a line: two have no spread around it."""
LINE_STEPS = 50


def scope_title(scope: QuestionScope) -> str:
    """Return the labels of a scope as text: ``digits, n = 20, probe``."""
    labels = dict(scope)
    texts: list[str] = []
    for axis in TITLE_AXES:
        # An axis is missing if the question is across it, and has no label without a source.
        label = labels.get(axis)
        if label is not None:
            texts.append(AXIS_TEXTS[axis].format(label))
    return ", ".join(texts)


def scatter_panel(
    points: QuestionPoints, scope: QuestionScope, *, has_line: bool = False
) -> ScatterPanel:
    """Return the panel of a predictor's points in one scope."""
    title = scope_title(scope)
    if not points.points:
        return ScatterPanel(title, points.predictor.name, ())
    predictor, outcome = points.value_arrays
    drawn: list[ScatterPoint] = []
    for index, point in enumerate(points.points):
        xs = predictor[:, index].tolist()
        ys = outcome[:, index].tolist()
        drawn.append(ScatterPoint(point.label, tuple(zip(xs, ys, strict=True))))
    # References are no points of their own: all of them see the same sources.
    line = regression_line(predictor.mean(axis=0), outcome.mean(axis=0)) if has_line else None
    return ScatterPanel(title, points.predictor.name, tuple(drawn), line)


def panel_rows(panels: Sequence[ScatterPanel]) -> list[list[ScatterPanel]]:
    """Return the panels in rows of a few."""
    return [
        list(panels[start : start + PANELS_PER_ROW])
        for start in range(0, len(panels), PANELS_PER_ROW)
    ]


def regression_line(x: FloatArray, y: FloatArray) -> LineBand | None:
    """Return the least-squares line of points ``(S,)`` and the 95 % band of its mean.

    The half-width at x0 is ``t_{S-2} s sqrt(1/S + (x0 - mean)^2 / sum((x - mean)^2))``, with s^2 the residual
    variance (Draper and Smith, 1998, equation 3.1.1). It is None for fewer than three points, or without spread in x.
    """
    import numpy as np
    from scipy.special import stdtrit

    count = len(x)
    deviations = x - x.mean()
    spread = float((deviations**2).sum())
    if count < MIN_LINE_POINTS or spread <= 0:
        return None
    slope = float((deviations * (y - y.mean())).sum()) / spread
    residuals = y - y.mean() - slope * deviations
    deviation = sqrt(float((residuals**2).sum()) / (count - 2))
    xs = np.linspace(x.min(), x.max(), LINE_STEPS)
    ys = y.mean() + slope * (xs - x.mean())
    leverage = 1 / count + (xs - x.mean()) ** 2 / spread
    half = float(stdtrit(count - 2, 0.975)) * deviation * np.sqrt(leverage)
    return LineBand(xs.tolist(), ys.tolist(), (ys - half).tolist(), (ys + half).tolist())
