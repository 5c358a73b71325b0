"""Foolbox as evaluations: clean accuracy, and accuracy under attacks with the worst case kept per sample.

Every eps is in [0, 1] pixel space. Light to import: torch and Foolbox are imported by the factories.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory
from advtransfer_foolbox.factories import gradients, minimal, unions


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Clean accuracy, and one evaluation for each attack."""
    return (*gradients.EVALUATIONS, *minimal.EVALUATIONS, *unions.EVALUATIONS)
