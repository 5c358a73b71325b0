"""A data set cut into disjoint ones by shares of its train part."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from advtransfer.node import canonical, digest
from advtransfer.toolkit.samples import Picked, every
from advtransfer.toolkit.subset import test_draw
from advtransfer.types import DataCard, Dataset, Samples
from advtransfer_vision.parts import PartedDataset


class Portion(Picked):
    """Some samples of another part, in its order, as the portion's own card describes them."""

    def __init__(self, samples: Samples, positions: Tensor, card: DataCard) -> None:
        super().__init__(samples, positions)
        self.card = card


def cut(data: Dataset, *, start: float, end: float) -> PartedDataset:
    """The train part between two shares of its fixed order, and the test part whole.

    Raises:
        ValueError: The shares are not in order, or there is a class without an image between them.
    """
    if not start < end:
        raise ValueError(f"found a portion from {start:g} to {end:g}; expected an end above the start; correct them")
    base, train, test = data.card(), data.part("train"), data.part("test")
    card = replace(base, digest=digest(canonical({"base": base.digest, "portion": [start, end]})))
    labels = train.labels(every(train))
    kept = _before(labels, share=end) & ~_before(labels, share=start)
    lost = base.task == "classes" and len(torch.unique(labels[kept])) < len(torch.unique(labels))
    if lost or not kept.any():
        found = f"a portion from {start:g} to {end:g} with {int(kept.sum())} of {len(train)} images"
        raise ValueError(f"found {found}; expected at least one of each class; move `start` and `end` apart")
    positions = kept.nonzero().flatten()
    return PartedDataset(card, {"train": Portion(train, positions, card), "test": Portion(test, every(test), card)})


def _before(labels: Tensor, *, share: float) -> Tensor:
    """Which of the labelled samples come before a share of the order, ``(N,)`` bool."""
    before, count = torch.zeros(len(labels), dtype=torch.bool), round(share * len(labels))
    if count:
        before[test_draw(labels, count=count)] = True
    return before
