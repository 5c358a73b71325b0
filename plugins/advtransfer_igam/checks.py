"""What of the options is known to be wrong before anything is trained. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.precheck import Chosen, Misfit, Outline, Surroundings
from advtransfer.toolkit.training_misfits import adversary_misfits, augment_misfits, network_misfits


def igam(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """A student for other images than the target's, and an attack or changes that do not suit them."""
    student = chosen.get("student")
    if isinstance(student, Outline):
        yield from network_misfits(student, around.target, name="student")
    yield from adversary_misfits(chosen["teacher_attack"], around.target, path=("teacher_attack",))
    yield from augment_misfits(chosen["augment"], around.target)
