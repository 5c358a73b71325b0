"""Hooks of the Foolbox plugin.

Clean accuracy, and accuracy under attacks with the worst outcome per sample. Every eps is in [0, 1]
pixel space.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory
from advtransfer_foolbox.components import (
    autoattack,
    class_means,
    ensembles,
    fab_square,
    gradient,
    minimization,
    unions,
)


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return clean accuracy and one evaluation for each attack."""
    return (
        *gradient.EVALUATIONS,
        *minimization.EVALUATIONS,
        *ensembles.EVALUATIONS,
        *autoattack.EVALUATIONS,
        *fab_square.EVALUATIONS,
        *class_means.EVALUATIONS,
        *unions.EVALUATIONS,
    )
