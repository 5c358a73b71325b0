"""Hooks of the calibration plugin: how far a model's confidences are from its accuracy."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory
from advtransfer_calibration.components import calibration


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return the calibration of the transferred model, clean and attacked."""
    return (calibration,)
