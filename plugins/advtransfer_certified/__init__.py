"""Hooks of the certified plugin: accuracy that holds against every attack of a radius."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory
from advtransfer_certified.components import smoothing


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return the certified accuracy of the smoothed model."""
    return (smoothing,)
