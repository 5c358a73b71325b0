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
    """A `Dataset` of given parts, which share its card."""

    data_card: DataCard
    parts: Mapping[Part, Samples]

    def card(self) -> DataCard:
        """Return the card of the data set."""
        return self.data_card

    def part(self, name: Part) -> Samples:
        """Return a part.

        Raises:
            ValueError: There is no such part; lists the existing ones.
        """
        if name not in self.parts:
            raise ValueError(
                f"found part {name!r}; expected one of {sorted(self.parts)}; ask for one of these"
            )
        return self.parts[name]


class Portion(SampleSubset):
    """Samples of another part, in its order, with the card of the portion."""

    def __init__(self, samples: Samples, positions: Tensor, card: DataCard) -> None:
        super().__init__(samples, positions)
        self.card = card


def cut_portion(data: Dataset, *, start: float, end: float) -> PartedDataset:
    """Return the train part between two shares of its fixed order, and the whole test part.

    Raises:
        ValueError: `end` is not above `start`, or the portion has no image of some class.
    """
    if not start < end:
        raise ValueError(
            f"found a portion from {start:g} to {end:g}; expected an end above the start; correct them"
        )
    base = data.card()
    train = data.part("train")
    test = data.part("test")
    card = replace(base, digest=content_id({"base": base.digest, "portion": [start, end]}))
    labels = train.labels(all_positions(train))
    # The images before a share contain those before every smaller one, so portions whose shares do
    # not overlap have no image in common.
    in_portion = _is_before_share(labels, share=end) & ~_is_before_share(labels, share=start)
    lacks_class = base.task == "classes" and (
        len(torch.unique(labels[in_portion])) < len(torch.unique(labels))
    )
    if lacks_class or not in_portion.any():
        count = int(in_portion.sum())
        found = f"a portion from {start:g} to {end:g} with {count} of {len(train)} images"
        raise ValueError(
            f"found {found}; expected at least one of each class; move `start` and `end` apart"
        )
    positions = in_portion.nonzero().flatten()
    return PartedDataset(
        card,
        {
            "train": Portion(train, positions, card),
            "test": Portion(test, all_positions(test), card),
        },
    )


def _is_before_share(labels: Tensor, *, share: float) -> Tensor:
    """Return whether each sample comes before a share of the fixed order, ``(N,)`` bool."""
    is_before = torch.zeros(len(labels), dtype=torch.bool)
    count = round(share * len(labels))
    if count:
        is_before[draw_test_positions(labels, count=count)] = True
    return is_before
