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
    cka,
    dataset_distance,
    h_score,
    leep,
    logme,
    per_image,
    singular_directions,
    transfer_loss,
)
from advtransfer_alignment.transferred_components import (
    transferred,
    transferred_from_reference,
    transferred_from_source,
)


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return the alignment, the loss that it predicts, estimators, similarity, transferred attacks."""
    return [
        alignment,
        transfer_loss,
        leep,
        h_score,
        logme,
        cka,
        transferred,
        transferred_from_source,
        transferred_from_reference,
        dataset_distance,
        singular_directions,
        per_image,
    ]
