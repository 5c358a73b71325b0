"""The host's own kinds of figures, registered by the hook that plugins use."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.leaderboard.figure_kinds import (
    bars,
    curves,
    deltas,
    matrix,
    options,
    points,
    tiles,
)
from advtransfer.types import FigureKind

__all__ = ["register_figures"]


@hookimpl
def register_figures() -> Iterable[FigureKind]:
    """Return the kinds that a suite names without a plugin."""
    return [
        curves.ACCURACY_VS_N,
        points.ROBUST_VS_CLEAN,
        curves.METRIC_VS_EPS,
        curves.METRIC_VS_EPOCH,
        points.SCATTER,
        deltas.DELTA_VS_N,
        deltas.DELTA_VS_EPOCH,
        options.METRIC_VS_OPTION,
        bars.BARS,
        matrix.MATRIX,
        tiles.GRID,
        tiles.DECISION_REGIONS,
    ]
