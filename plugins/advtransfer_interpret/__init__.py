"""Hooks of the interpret plugin.

Influence of training images, feature visualisation, input gradients, loss surfaces; each writes a
figure.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory
from advtransfer_interpret.components import (
    feature_visualisation,
    gradient_alignment,
    influence,
    loss_surface,
    saliency,
)


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return the evaluations of this plugin; all of them explain the transferred model."""
    return (influence, feature_visualisation, saliency, gradient_alignment, loss_surface)
