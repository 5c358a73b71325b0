"""What of the transfer's options is known to be wrong before anything is trained. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.precheck import Chosen, Misfit, Surroundings
from advtransfer.toolkit.training_misfits import augment_misfits, repeated


def affine(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """Outputs of the source that are named twice, too many or too few, or that it does not have."""
    yield from augment_misfits(chosen["augment"], around.target)
    labels, wanted, there = chosen["labels"], around.target.outputs, around.source.outputs
    if labels == "new":
        return
    read = range(wanted or 0) if isinstance(labels, str) else labels
    if isinstance(labels, tuple):
        yield from repeated("labels", labels)
    if wanted is not None and len(read) != wanted:
        found = f"labels names {len(read)} outputs of the source, the target has {wanted}"
        yield Misfit(("labels",), f"{wanted} outputs", "name as many", found, skips=True)
    elif there is not None and max(read, default=0) >= there:
        found = f"labels reads output {max(read)} of the source, which has {there}, numbered from 0"
        yield Misfit(("labels",), f"outputs below {there}", "name others, or use labels: new", found, skips=True)
