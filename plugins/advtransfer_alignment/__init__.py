"""Hooks of the alignment plugin.

Adversarial transferability, its alignment with knowledge transferability, and estimates of the
latter.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory
from advtransfer_alignment.components import (
    alignment,
    dataset_distance,
    h_score,
    leep,
    logme,
    transfer_loss,
)


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return the alignment, the loss that it is to predict, and estimators of it."""
    return [alignment, transfer_loss, leep, h_score, logme, dataset_distance]
