"""Fewer images than a part has: what a source is trained on when all of them would take too long, or teach too much."""

from __future__ import annotations

import torch

from advtransfer.toolkit.samples import Picked, every
from advtransfer.toolkit.subset import test_draw
from advtransfer.types import Samples


def fewer(samples: Samples, *, count: int | None) -> Samples:
    """`count` of the samples, each class at its share, in their order; fixed and nested in the count; None for all.

    Raises:
        ValueError: There are fewer samples than that, or a class is left without any.
    """
    if count is None:
        return samples
    if count > len(samples):
        raise ValueError(f"found images {count}; expected at most the {len(samples)} there are; lower images")
    labels = samples.labels(every(samples))
    positions = test_draw(labels, count=count)
    if samples.card.task == "classes":
        missing = sorted(set(torch.unique(labels).tolist()) - set(torch.unique(labels[positions]).tolist()))
        if missing:
            found = f"images {count}, which leave no image of class {', '.join(map(str, missing))}"
            raise ValueError(f"found {found}; expected at least one of each class; raise images")
    return Picked(samples, positions)
