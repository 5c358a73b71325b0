"""Data sets made of parts, and disjoint portions of a train part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.file_digests import content_id
from advtransfer.toolkit.subset import draw_test_positions
from advtransfer.types import DataCard, Dataset, Part, Samples


@dataclass(frozen=True, slots=True)
class PartedDataset:
    """A `Dataset` whose parts are at hand; every one of them carries this card."""

    data_card: DataCard
    parts: Mapping[Part, Samples]

    def card(self) -> DataCard:
        """What it is."""
        return self.data_card

    def part(self, name: Part) -> Samples:
        """The part; a ValueError that lists the parts there are when this one is not."""
        if name not in self.parts:
            raise ValueError(
                f"found part {name!r}; expected one of {sorted(self.parts)}; ask for one of these"
            )
        return self.parts[name]


class Portion(SampleSubset):
    """Some samples of another part, in its order, as the portion's own card describes them."""

    def __init__(self, samples: Samples, positions: Tensor, card: DataCard) -> None:
        super().__init__(samples, positions)
        self.card = card


def cut_portion(data: Dataset, *, start: float, end: float) -> PartedDataset:
    """The train part between two shares of its fixed order, and the test part whole.

    Raises:
        ValueError: The shares are not in order, or there is a class without an image between them.
    """
    if not start < end:
        raise ValueError(
            f"found a portion from {start:g} to {end:g}; expected an end above the start; correct them"
        )
    base, train, test = data.card(), data.part("train"), data.part("test")
    card = replace(base, digest=content_id({"base": base.digest, "portion": [start, end]}))
    labels = train.labels(all_positions(train))
    kept = _before_share(labels, share=end) & ~_before_share(labels, share=start)
    lost = base.task == "classes" and len(torch.unique(labels[kept])) < len(torch.unique(labels))
    if lost or not kept.any():
        found = f"a portion from {start:g} to {end:g} with {int(kept.sum())} of {len(train)} images"
        raise ValueError(
            f"found {found}; expected at least one of each class; move `start` and `end` apart"
        )
    positions = kept.nonzero().flatten()
    return PartedDataset(
        card,
        {
            "train": Portion(train, positions, card),
            "test": Portion(test, all_positions(test), card),
        },
    )


def _before_share(labels: Tensor, *, share: float) -> Tensor:
    """Which of the labelled samples come before a share of the order, ``(N,)`` bool."""
    before, count = torch.zeros(len(labels), dtype=torch.bool), round(share * len(labels))
    if count:
        before[draw_test_positions(labels, count=count)] = True
    return before
