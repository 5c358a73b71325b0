"""Hooks of the corruptions plugin: accuracy on images with noise, blur, weather and digital faults."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory
from advtransfer_corruptions.components import accuracy


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return the accuracy of the transferred model on corrupted test images."""
    return (accuracy,)
